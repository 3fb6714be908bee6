// LoopGate lets threads reach a loop that may end before they do: an abandoned thread keeps the
// gate, and finds it closed.
//
// Thread: any, except close(), which is the loop's. Owned by all who hold it.

#pragma once

#include <atomic>
#include <functional>
#include <mutex>

#include "framework/doorbell.h"
#include "framework/event_loop.h"

namespace unirun {

class LoopGate {
 public:
  // Open, until close(). `loop` lives at least as long.
  explicit LoopGate(EventLoop& loop) : loop_(&loop) {}

  // As EventLoop::post(). False once closed: the function is dropped on this thread.
  bool post(std::function<void()> function);

  // Calls `function` here and now, while the gate stays open for it; false once closed.
  template <class Function>
  bool pass(Function function) {
    const std::lock_guard lock(mutex_);
    if (loop_ == nullptr) return false;
    function();
    return true;
  }

  // Has `function` called on the loop, and waits for that. False once closed: then it has not been
  // called, and will not be. REQUIRES: not on the loop; `function` keeps this gate.
  bool call(std::function<void()> function);

  // Waits for who is passing, and wakes who waits for a call. What was posted before still runs, if
  // the loop does.
  void close();

 private:
  std::mutex mutex_;
  EventLoop* loop_;  // Guarded by `mutex_`. Null once closed.
  std::atomic<bool> closed_{false};
  Doorbell bell_;  // Rung for a call that has been made, and when the gate closes.
};

}  // namespace unirun
