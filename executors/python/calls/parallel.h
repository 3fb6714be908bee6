// Parallel is where parallel() finds what is really parallel here: threads without a GIL,
// interpreters with one each, or worker processes, begun with the first call that needs them.
//
// Thread: any, but for what names one.

#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "executors/python/calls/call_runner.h"
#include "executors/python/calls/call_task.h"
#include "executors/python/calls/fallback_calls.h"
#include "executors/python/calls/parallel_run.h"
#include "executors/python/interpreter/execution_mode.h"
#include "executors/python/interpreter/own_interpreter.h"
#include "executors/python/tasks/deadlines.h"
#include "framework/doorbell.h"

namespace unirun::python {

class Parallel {
 public:
  struct Options {
    std::string worker_program{};
    std::vector<std::string> host_command{};  // As worker_command() has both.
    Value configuration{};                    // Of a ProcessWorker.
    OwnInterpreterOptions interpreter{};
    std::size_t stack_bytes = 0;
    std::size_t width = 1;  // At once.
  };

  // The executor's, for the timeouts.
  explicit Parallel(Deadlines& deadlines) : deadlines_(deadlines) {}
  Parallel(const Parallel&) = delete;
  Parallel& operator=(const Parallel&) = delete;

  // ---- Thread: the owner's ----
  void open(Options options);
  // Waits for the runs that are open until `deadline`, then cancels them; and ends what ran them.
  void close(Instant deadline);
  // In a child of fork(): what it has is the parent's.
  void forget();

  // Each call's outcome, in their order. As a whole it fails only by cancel(), or where there is
  // nothing that could run it: unsupported, with the reason. REQUIRES: `mode` is not automatic.
  [[nodiscard]] future<std::vector<Result<Value>>> run(std::span<const CallSpec> calls,
                                                       ExecutionMode mode,
                                                       std::optional<Duration> timeout);
  [[nodiscard]] static future<std::vector<Result<Value>>> refuse(const Error& error);
  // Modules that turned out not to load in interpreters: calls of theirs ran in worker processes.
  [[nodiscard]] std::vector<Refusal> refused_modules();

 private:
  [[nodiscard]] Result<CallRunner*> enter(ExecutionMode mode);
  [[nodiscard]] Result<CallRunner*> find_runner(ExecutionMode mode);
  [[nodiscard]] Result<CallRunner*> find_processes();
  [[nodiscard]] Result<CallRunner*> find_interpreters();
  void leave();
  [[nodiscard]] bool is_idle();
  void on_end(ParallelRun& run);

  Deadlines& deadlines_;
  Doorbell ended_;
  std::mutex mutex_;  // Guards the rest. Nobody asks for the GIL within.
  Options options_;
  bool is_open_ = false;
  std::size_t entering_ = 0;  // Runs that are just being begun.
  ExecutorCalls threads_;
  std::unique_ptr<CallRunner> processes_;
  std::unique_ptr<CallRunner> interpreters_;
  std::unique_ptr<FallbackCalls> with_fallback_;  // On both of these.
  std::vector<Shared<ParallelRun>> runs_;
};

}  // namespace unirun::python
