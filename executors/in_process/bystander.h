// Bystander is the thread beside the services' threads that deals with one that does not end: what
// it calls, Service::interrupt() and stack(), may wait for a lock that the service holds (Python's
// GIL), and so may neither run on the loop nor hold up its end. There is a thread only while there
// is something to do.
//
// Thread: its owner's. Jobs run one at a time, in order.

#pragma once

#include <functional>
#include <memory>

#include "framework/time.h"

namespace unirun {

class Bystander {
 public:
  Bystander();
  // Drops what has not begun, and waits for a job at work, `patience` at most; then leaves it.
  ~Bystander();
  Bystander(const Bystander&) = delete;
  Bystander& operator=(const Bystander&) = delete;

  // `job` must not throw, and owns all that it needs. Where no thread can be had it is dropped.
  void call(std::function<void()> job);

 private:
  static constexpr Duration patience = std::chrono::seconds{1};

  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace unirun
