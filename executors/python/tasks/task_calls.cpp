#include "executors/python/tasks/task_calls.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include "executors/python/async/coroutine_loop.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/runtime.h"
#include "executors/python/tasks/waiting.h"
#include "executors/python/tasks/worker.h"
#include "framework/clock.h"
#include "framework/rendezvous.h"

namespace unirun::python {

void enqueue(Shared<TaskState> task) noexcept { Runtime::get().enqueue(std::move(task)); }

void enqueue_in(std::int64_t interpreter_id, Shared<TaskState> task) noexcept {
  Runtime::get().enqueue(std::move(task), interpreter_id);
}

bool cancel_task(TaskState& task) noexcept { return Runtime::get().cancel(task); }

Result<void> check_no_coroutine(std::string_view what) {
  if (CoroutineLoop::current() == nullptr) return {};
  return Error{
      .code = Errc::loop_running,
      .message = fmt::format(
          "{}() would hold up the asyncio loop of the coroutine on whose thread it is: let "
          "the coroutine say await unirun.async_call() of a C++ function that gives the "
          "future; or co_await it, or follow it by then()",
          what)};
}

namespace {

// Awake for a moment, where a worker may have the outcome as soon as that. A coroutine takes turns
// of its loop, and who would wait for less than a look takes none.
bool look_for_outcome(TaskState& task, Instant deadline) {
  if (task.coroutine != nullptr) return false;
  if (deadline != Instant::max() && deadline - SystemClock().now() < Rendezvous::longest_look)
    return false;
  return Runtime::get().rendezvous().look(Side::caller, [&task] { return task.is_settled(); });
}

}  // namespace

bool wait_until_settled(TaskState& task, Instant deadline) {
  if (task.is_settled()) return true;
  if (task.is_of_parent()) return false;
  if (CoroutineLoop::current() != nullptr) return false;
  if (PythonWorker* const worker = PythonWorker::current(); worker != nullptr) {
    const GILGuard guard;  // A task may have let go of it.
    if (guard.attached()) return worker->serve_until(task, deadline);
  }
  const GILRelease released;
  if (look_for_outcome(task, deadline)) return true;
  const WaitMark mark(task);
  return task.sleep_until(deadline);
}

Error why_not_waited(std::string_view what) {
  if (const auto may = check_no_coroutine(what); !may.ok()) return may.error();
  return {.code = Errc::not_initialized,
          .message = fmt::format("{}(): it is a task of the process that this one was forked off, "
                                 "and nobody here ends it",
                                 what)};
}

Instant deadline_after(Duration timeout) {
  const Instant now = SystemClock().now();
  return timeout < Instant::max() - now ? now + timeout : Instant::max();
}

}  // namespace unirun::python
