#include "framework/service.h"

namespace unirun {

void Service::run(ServiceContext& context) {
  // Where only run_async() is overridden there is a loop to be made; see executors/thread/.
  static_cast<void>(context);
  throw ServiceEnded(ExitReason::of(ExitKind::start_failed,
                                    "the service overrides neither run() nor run_async()"));
}

Task<> Service::run_async(ServiceContext& context) {
  static_cast<void>(context);
  throw ServiceEnded(ExitReason::of(ExitKind::start_failed,
                                    "the service has no run_async(), and run() would block the "
                                    "loop: give it the thread executor"));
  co_return;
}

}  // namespace unirun
