// LoopGate lets threads reach a loop that may end before they do: an abandoned thread keeps the
// gate, and finds it closed.
//
// Thread: any, except close(), which is the loop's. Owned by all who hold it.

#pragma once

#include <functional>
#include <mutex>

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

  // Waits for who is passing. What was posted before still runs, if the loop does.
  void close();

 private:
  std::mutex mutex_;
  EventLoop* loop_;  // Guarded by `mutex_`. Null once closed.
};

}  // namespace unirun
