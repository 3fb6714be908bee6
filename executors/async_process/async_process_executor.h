// AsyncProcessExecutor runs services as processes with an event loop of their own: Python targets
// that await. It is the process executor, told to have its worker run them so: cancellation arrives
// inside the loop, and the heartbeat comes from the loop, so that a blocked one is noticed.
//
// Thread: the loop's.

#pragma once

#include "executors/executor.h"
#include "executors/process/process_executor.h"

namespace unirun {

class AsyncProcessExecutor final : public Executor {
 public:
  // `processes` outlives it, and its runs are that one's.
  explicit AsyncProcessExecutor(ProcessExecutor& processes) : processes_(processes) {}

  // Fails for what has no loop of ours: commands, native services.
  [[nodiscard]] LaunchOutcome launch(const Launch& launch, RunObserver& observer) override;
  void request_stop(RunId run) override { processes_.request_stop(run); }
  void kill(RunId run) override { processes_.kill(run); }
  [[nodiscard]] std::size_t running() const override { return processes_.running(); }

 private:
  ProcessExecutor& processes_;
};

}  // namespace unirun
