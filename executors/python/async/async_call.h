// AsyncCall is a call by name that nobody waits for on the spot: of a coroutine function, which
// runs on an asyncio loop, or of any other, which a worker runs.
//
// Thread: any, but for what TaskState and CoroutineTask name.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include "executors/python/async/coroutine_task.h"
#include "executors/python/calls/call_spec.h"
#include "executors/python/future.h"

namespace unirun::python {

class AsyncCall final : public Outcome<Value>, private CoroutineTask {
 public:
  // It runs in a copy of that context, as contextvars has it; of nothing: of the thread's.
  AsyncCall(CallSpec call, Ref context);
  // A copy of that of the Python code that calls; nothing where none does. Thread: any.
  [[nodiscard]] static Ref context_of_caller();

  // Has it end as soon as that is cancelled. Thread: the one that made it, once.
  void cancel_with(const CancellationToken& token);

  // On a worker, where it is no coroutine function.
  void run() noexcept override;

  [[nodiscard]] std::string name() const override;

  // ---- As a CoroutineTask ----

  // Of a name that was no coroutine function's so far.
  [[nodiscard]] bool begins_on_worker() const noexcept override;
  [[nodiscard]] bool belongs_on_worker() noexcept override;

 private:
  [[nodiscard]] bool belongs_on_loop(Shared<TaskState>& task) noexcept override;
  [[nodiscard]] Result<Reference> make() noexcept override;
  [[nodiscard]] Reference context() noexcept override;
  void end(PyObject* value, CoroutineEnd how) noexcept override;
  void settle_as(Ending ending, Result<Value> outcome) noexcept;
  void drop_arguments();

  CallSpec call_;                 // What it names stays: who ends it asks for its name().
  Result<Ref> function_ = Ref();  // Once it was looked up.
  bool is_plain_ = false;         // A loop has found so, and passed it on.
  Ref context_;
  unirun::Registration cancellation_;  // Last: it may call for the rest.
};

}  // namespace unirun::python
