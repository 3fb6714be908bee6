#include "executors/python/calls/call_task.h"

#include <utility>

#include "executors/python/calls/invocation.h"

namespace unirun::python {

void CallTask::say(Result<Value> outcome) {
  if (has_said_.exchange(true)) return;
  // What it holds goes now, and not wherever the last share of the task does.
  const CallRunner::OnDone on_done = std::move(on_done_);
  on_done(std::move(outcome));
}

void CallTask::run() noexcept {
  runs_.store(true);
  auto outcome = invoke(call_, refs_);
  const bool is_good = outcome.ok();
  say(std::move(outcome));
  if (claim(is_good ? Ending::executed : Ending::failed)) settle(Result<void>());
}

void CallTask::fail(Error error) noexcept {
  if (!runs_.load()) say(error);
  settle(std::move(error));
}

CallRunner::Cancel ExecutorCalls::run(CallSpec call, OnDone on_done) {
  auto* const task = new CallTask(std::move(call), std::move(on_done));
  const Shared<TaskState> shared(task);
  enqueue(shared);
  return [shared] { static_cast<void>(cancel_task(*shared)); };
}

}  // namespace unirun::python
