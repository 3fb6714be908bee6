// Timers call a function once, at an instant or later, never before.
//
// Thread: the loop's. Two timers with equal deadlines fire in the order in which they were set.

#pragma once

#include <cstdint>
#include <functional>

#include "framework/time.h"

namespace unirun {

enum class TimerId : std::uint64_t { none = 0 };

class Timers {
 public:
  virtual ~Timers() = default;

  // Calls `on_due` once, from the loop, at `deadline` or later; in the next turn if that is past.
  // Instant::max() never fires.
  [[nodiscard]] virtual TimerId start_timer(Instant deadline, std::function<void()> on_due) = 0;

  // After this `on_due` is not called. A timer that has fired, or TimerId::none, is ignored.
  virtual void cancel_timer(TimerId timer) = 0;
};

}  // namespace unirun
