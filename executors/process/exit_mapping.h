// What the kernel says of a death, and what we had to do with it, turned into an ExitReason: the
// table of docs/supervision as one function.
//
// A pure function: no clock, no system.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "executors/service_spec.h"
#include "framework/exit_reason.h"

namespace unirun {

// As waitid() reports it.
struct ProcessEnd {
  bool by_signal = false;
  bool core_dumped = false;
  int status = 0;                         // The exit code, or the signal.
  std::optional<std::uint64_t> peak_rss;  // Bytes.
  bool out_of_memory = false;             // The kernel has said so.
};

// What we did to the run before its end.
struct EndCause {
  bool stop_requested = false;
  bool kill_requested = false;
  std::optional<std::string> unresponsive;  // Which sign of life was missed.
  bool ready = false;
  std::optional<ExceptionText> exception;  // As the worker told it.
  bool never_ran = false;                  // It was raised before there was anything to run.
  std::optional<std::uint64_t> peak_rss;   // Bytes; as the worker told it, together with that.
};

[[nodiscard]] ExitReason exit_reason(const ServiceSpec& spec, const ProcessEnd& end,
                                     const EndCause& cause);

}  // namespace unirun
