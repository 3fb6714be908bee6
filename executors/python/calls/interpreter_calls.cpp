#include "executors/python/calls/interpreter_calls.h"

#include <utility>

#include "executors/python/calls/call_task.h"
#include "executors/python/interpreter/gil_guard.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

class NoObserver final : public WorkerObserver {
 public:
  // Never destroyed: a worker that was left to itself knows it.
  static NoObserver& get() {
    static auto* const observer = new NoObserver;
    return *observer;
  }
  void on_taken(TaskState& /*task*/) noexcept override {}
  void on_ended(TaskState& /*task*/) noexcept override {}
  void ask_again(TaskState& /*task*/) noexcept override {
  }  // Interruptions does, of its own accord.
};

}  // namespace

InterpreterCalls::InterpreterCalls(Duration grace)
    : grace_(grace), pool_(std::make_unique<WorkerPool>(NoObserver::get())) {}

Result<std::unique_ptr<InterpreterCalls>> InterpreterCalls::start(const Options& options) {
  std::unique_ptr<InterpreterCalls> calls(new InterpreterCalls(options.grace));
  const auto started = calls->pool_->start({.size = options.size,
                                            .stack_bytes = options.stack_bytes,
                                            .pin = {},
                                            .interpreter = options.interpreter});
  if (!started.ok()) return started.error();
  return calls;
}

InterpreterCalls::~InterpreterCalls() {
  const GILRelease released;
  pool_->crew().dismiss();
  while (const Shared<TaskState> task = pool_->crew().take_left()) cancel(*task);
  pool_->interrupt_all(true);
  for (const auto& task : pool_->all_running()) cancel(*task);
  static_cast<void>(pool_->join(SystemClock().now() + grace_));
  interruptions_.stop();
  // Who was given up still knows of it.
  if (!pool_->has_ended()) static_cast<void>(pool_.release());
}

CallRunner::Cancel InterpreterCalls::run(CallSpec call, OnDone on_done) {
  const Shared<TaskState> task(new CallTask(std::move(call), std::move(on_done), Returned::values));
  task->id = TaskId{last_id_.fetch_add(1) + 1};
  static_cast<void>(task->enter_queue());  // It counts: it can be interrupted.
  task->add_owner();
  if (!pool_->crew().push(task.get())) {
    task->drop_owner();
    if (task->claim(Ending::cancelled))
      task->fail(
          {.code = Errc::cancelled, .message = "the executor was shut down before it began"});
  }
  return [this, task] { cancel(*task); };
}

void InterpreterCalls::cancel(TaskState& task) {
  const Error error{.code = Errc::cancelled, .message = "cancelled before it had ended"};
  if (task.claim_before_start(Ending::cancelled)) return task.fail(error);
  if (!task.claim(Ending::cancelled)) return;
  task.fail(error);
  task.add_owner();
  interruptions_.begin(Shared<TaskState>(&task));
}

}  // namespace unirun::python
