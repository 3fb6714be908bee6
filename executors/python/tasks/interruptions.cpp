#include "executors/python/tasks/interruptions.h"

#include <algorithm>
#include <new>
#include <utility>

#include "executors/python/interpreter/gil_guard.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

constexpr Duration not_now_but_after = std::chrono::milliseconds(2);

}  // namespace

void Interruptions::ask_once(Shared<TaskState> task, Duration wait) {
  const Instant when = SystemClock().now() + wait;
  static_cast<void>(deadlines_.start(when, [this, task = std::move(task)] {
    const GILGuard guard;
    if (guard.attached()) static_cast<void>(pool_.interrupt(*task));
  }));
}

void Interruptions::ask_again(Shared<TaskState> task) {
  ask_once(std::move(task), not_now_but_after);
}

void Interruptions::look_later(Duration wait, std::function<void()> look) {
  static_cast<void>(deadlines_.start(SystemClock().now() + wait, std::move(look)));
}

void Interruptions::come_by() {
  static_cast<void>(deadlines_.start(SystemClock().now(), [] { const GILGuard guard; }));
}

void Interruptions::forget() {
  new (&deadlines_) Deadlines;
  deadlines_.stop();
}

// Asks, and looks later whether it helped.
void Interruptions::ask_soon(Shared<TaskState> task, int asked) {
  const Duration wait = asked == 0 ? Duration::zero() : ask_again_after;
  static_cast<void>(deadlines_.start(SystemClock().now() + wait,
                                     [this, task = std::move(task), asked] { ask(task, asked); }));
}

void Interruptions::ask(const Shared<TaskState>& task, int asked) {
  if (task->is_over()) return;
  if (asked == asks && give_up_(*task)) return;
  bool is_asked = false;
  {
    const GILGuard guard;
    if (!guard.attached()) return;
    // None yet, or none while the task waits for another that runs on its stack.
    is_asked = pool_.interrupt(*task);
  }
  ask_soon(task, std::clamp(is_asked ? asked + 1 : asked, 1, asks));
}

}  // namespace unirun::python
