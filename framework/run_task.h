// run_task() drives a task to its end on a loop, from outside of any coroutine, and gives its
// outcome: int found = run_task(loop, ask()). What leaves the task leaves run_task().
//
// Thread: the one that calls becomes the loop's. Whoever stops the loop before the task's end is
// not obeyed.

#pragma once

#include <utility>

#include "framework/event_loop.h"
#include "framework/task.h"

namespace unirun {

template <class T>
T run_task(EventLoop& loop, Task<T> task) {
  class End final : public TaskObserver {
   public:
    explicit End(EventLoop& a_loop) : loop_(a_loop) {}
    std::coroutine_handle<> on_task_ended() noexcept override {
      reached = true;
      loop_.stop();
      return std::noop_coroutine();
    }
    bool reached = false;

   private:
    EventLoop& loop_;
  };

  End end(loop);
  loop.post([&task, &end] { task.start(end); });
  while (!end.reached) loop.run();
  return task.take();
}

}  // namespace unirun
