// Waiter is one coroutine that waits on a loop: what every awaitable of the house holds. It brings
// the coroutine back on the loop thread, once, and gives it the loop's seat (loop_seat.h) again. A
// waiter that is destroyed, as it is when its coroutine is, brings back nothing any more.
//
// Thread: the loop's, except Waker. The loop outlives the waiter.

#pragma once

#include <coroutine>
#include <memory>

#include "framework/event_loop.h"

namespace unirun {

class Waiter {
  struct State;

 public:
  // Wakes from any thread, in a turn of the loop that is still to come; more than once is as good
  // as once. May outlive waiter and loop, and then does nothing.
  class Waker {
   public:
    void operator()() const;

   private:
    friend class Waiter;
    explicit Waker(std::shared_ptr<State> state) : state_(std::move(state)) {}

    std::shared_ptr<State> state_;
  };

  explicit Waiter(EventLoop& loop) : loop_(loop) {}
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // `coroutine` is suspended. REQUIRES: once. Thread: any, if none but a waker resumes it.
  void begin(std::coroutine_handle<> coroutine);

  // Resumes it here and now, if it still waits; this waiter may be gone when it returns. REQUIRES:
  // called straight from the loop, with nobody's half-done work beneath.
  void resume();

  // REQUIRES: begun.
  [[nodiscard]] Waker waker() const { return Waker(state_); }

  [[nodiscard]] EventLoop& loop() const { return loop_; }

 private:
  EventLoop& loop_;
  std::shared_ptr<State> state_;
};

}  // namespace unirun
