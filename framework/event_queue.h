// EventQueue is the receiving end of an EventBus for another thread. Bounded; oldest first. A full
// queue drops its newest event and counts it; the publisher never waits.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "framework/event.h"
#include "framework/time.h"

namespace unirun {

class EventQueue {
 public:
  using Batch = std::vector<std::shared_ptr<const Event>>;

  virtual ~EventQueue() = default;

  // All that has arrived, taken whole; waits up to `timeout` for the first. Empty on timeout. A
  // closed queue still gives what it holds, and then is empty at once. Thread: any one at a time.
  [[nodiscard]] virtual Batch take(Duration timeout) = 0;

  // How many events did not fit, ever.
  [[nodiscard]] virtual std::uint64_t dropped() const = 0;

  // Ends the subscription and wakes a waiting take(); so does the end of the bus. Thread: any.
  virtual void close() = 0;
  [[nodiscard]] virtual bool closed() const = 0;
};

}  // namespace unirun
