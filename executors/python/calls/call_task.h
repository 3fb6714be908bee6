// CallTask is a call as a task of a worker: it tells of its end once, also where it never begins.
//
// Thread: any.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>

#include "executors/python/calls/call_runner.h"
#include "executors/python/calls/invocation.h"
#include "executors/python/future.h"

namespace unirun::python {

class CallTask final : public Outcome<void> {
 public:
  CallTask(CallSpec call, CallRunner::OnDone on_done, Returned refs = Returned::any)
      : call_(std::move(call)), on_done_(std::move(on_done)), refs_(refs) {}

  void run() noexcept override;
  // Its code, where it runs, tells of the end when it comes there.
  void fail(Error error) noexcept override;

 private:
  void say(Result<Value> outcome);

  CallSpec call_;
  CallRunner::OnDone on_done_;
  const Returned refs_;
  std::atomic<bool> runs_{false};
  std::atomic<bool> has_said_{false};
};

// Among the executor's own tasks.
class ExecutorCalls final : public CallRunner {
 public:
  [[nodiscard]] Cancel run(CallSpec call, OnDone on_done) override;
};

}  // namespace unirun::python
