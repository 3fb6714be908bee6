#include "executors/process/exit_mapping.h"

#include <algorithm>
#include <csignal>

namespace unirun {
namespace {

ExitKind kind_of(const ServiceSpec& spec, const ProcessEnd& end, const EndCause& cause) {
  const bool killed = end.by_signal && end.status == SIGKILL;
  if (cause.unresponsive) return ExitKind::liveness_timeout;
  if (cause.kill_requested && killed) return ExitKind::killed;
  if (cause.stop_requested) return ExitKind::shutdown;
  if (killed && end.out_of_memory) return ExitKind::memory_limit;
  if (end.by_signal) return ExitKind::signal;
  if (end.status == 0 || spec.success_exit_codes.count(end.status) > 0) return ExitKind::normal;
  if (cause.exception) return cause.never_ran ? ExitKind::start_failed : ExitKind::exception;
  return ExitKind::exit_code;
}

}  // namespace

ExitReason exit_reason(const ServiceSpec& spec, const ProcessEnd& end, const EndCause& cause) {
  ExitReason reason;
  reason.kind = kind_of(spec, end, cause);
  if (end.by_signal) {
    reason.signal = end.status;
  } else {
    reason.exit_code = end.status;
  }
  reason.core_dumped = end.core_dumped;
  reason.peak_rss = std::max(end.peak_rss, cause.peak_rss);  // Nothing is less than anything.
  reason.exception = cause.exception;
  if (cause.unresponsive) reason.detail = *cause.unresponsive;
  if (reason.kind == ExitKind::killed) {
    reason.detail = cause.stop_requested ? "did not end within its shutdown timeout"
                                         : "was to be killed at once";
  }
  const bool by_itself = reason.kind == ExitKind::exit_code || reason.kind == ExitKind::exception ||
                         reason.kind == ExitKind::start_failed;
  reason.permanent_failure =
      by_itself && !end.by_signal && spec.no_restart_exit_codes.count(end.status) > 0;
  return reason;
}

}  // namespace unirun
