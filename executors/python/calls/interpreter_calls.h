// InterpreterCalls runs calls in interpreters with a GIL of their own: a worker for each.
//
// Thread: any.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "executors/python/calls/call_runner.h"
#include "executors/python/interpreter/own_interpreter.h"
#include "executors/python/tasks/interruptions.h"
#include "executors/python/tasks/worker_pool.h"

namespace unirun::python {

class InterpreterCalls final : public CallRunner {
 public:
  struct Options {
    std::uint32_t size = 1;
    std::size_t stack_bytes = 0;
    OwnInterpreterOptions interpreter{};
    Duration grace = std::chrono::seconds(1);  // So long interrupted code has at the end.
  };

  // An interpreter that cannot be had fails its calls, with the reason. Errors: unsupported, no
  // thread can be had.
  [[nodiscard]] static Result<std::unique_ptr<InterpreterCalls>> start(const Options& options);
  // Cancels what is open. A worker whose code does not end is left to itself.
  ~InterpreterCalls() override;

  [[nodiscard]] Cancel run(CallSpec call, OnDone on_done) override;

 private:
  explicit InterpreterCalls(Duration grace);
  void cancel(TaskState& task);

  const Duration grace_;
  std::atomic<std::uint64_t> last_id_{0};
  std::unique_ptr<WorkerPool> pool_;
  Interruptions interruptions_{
      *pool_, [this](const TaskState& task) { return pool_->give_up(task) != nullptr; }};
};

}  // namespace unirun::python
