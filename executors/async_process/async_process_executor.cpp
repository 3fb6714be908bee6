#include "executors/async_process/async_process_executor.h"

namespace unirun {

LaunchOutcome AsyncProcessExecutor::launch(const Launch& launch, RunObserver& observer) {
  if (!std::holds_alternative<PythonTarget>(launch.service->target)) {
    LaunchOutcome refused;
    refused.reason = ExitReason::of(
        ExitKind::start_failed,
        "target: the executor async_process runs Python targets on an event loop; "
        "a command belongs to the executor process, a native service to thread or async");
    return refused;
  }
  Launch on_loop = launch;
  on_loop.style = ServiceStyle::async;
  return processes_.launch(on_loop, observer);
}

}  // namespace unirun
