#include "executors/python/async/coroutine_endings.h"

#include "executors/python/python.h"
// Python.h first.

#include <algorithm>
#include <utility>

#include "executors/python/async/coroutine_loop.h"
#include "executors/python/interpreter/gil_guard.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

// What goes on by turns is looked at ever more rarely, but as often as this.
constexpr Duration longest_wait = std::chrono::seconds(1);

}  // namespace

struct CoroutineEndings::Watch {
  Shared<TaskState> task;
  std::uint64_t steps;  // That its loop had taken when it was looked at.
  int asked = 0;        // So often, in the step that it takes.
  Duration wait = Interruptions::ask_again_after;
  Instant cancelled_at = Instant::max();  // Known since then.

  [[nodiscard]] CoroutineLoop& loop() const { return *task->coroutine->loop(); }
  [[nodiscard]] bool is_lost() const { return task->bound_to && task->bound_to->is_lost(); }
  [[nodiscard]] bool is_awaited_in_vain(Instant now) const {
    const auto& context = task->bound_to;
    return context != nullptr && !context->is_open() && now - cancelled_at >= patience;
  }
};

void CoroutineEndings::begin(Shared<TaskState> task) {
  task->coroutine->link().cancel(task);
  const std::uint64_t steps = task->coroutine->loop()->steps();
  look_later({std::move(task), steps});
}

void CoroutineEndings::look_later(Watch watch) {
  const Duration wait = watch.wait;
  interruptions_.look_later(wait, [this, watch = std::move(watch)] { look(watch); });
}

void CoroutineEndings::look(Watch watch) {
  const Shared<TaskState>& task = watch.task;
  if (task->is_over() || watch.is_lost()) return;
  const bool is_same_step = std::exchange(watch.steps, watch.loop().steps()) == watch.steps;
  const bool is_cancelled = task->coroutine->was_cancelled();
  if (!is_cancelled || is_same_step) {
    const GILGuard guard;
    if (!guard.attached()) return;
    const bool is_struck = watch.loop().interrupt(*task);
    if (!is_cancelled || is_struck) {
      if (++watch.asked > Interruptions::asks && give_up_(watch.loop(), *task)) return;
      watch.wait = Interruptions::ask_again_after;
      return look_later(std::move(watch));
    }
  }
  const Instant now = SystemClock().now();
  watch.cancelled_at = std::min(watch.cancelled_at, now);
  if (watch.is_awaited_in_vain(now)) return task->coroutine->link().give_up(task);
  watch.asked = 0;
  watch.wait = std::min(2 * watch.wait, longest_wait);
  look_later(std::move(watch));
}

}  // namespace unirun::python
