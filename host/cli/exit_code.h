// What `unirun` ends with. The one list; docs and tests follow it.

#pragma once

#include "framework/result.h"

namespace unirun {

enum class ExitCode : int {
  done = 0,
  failure = 1,                 // Anything that has no number of its own.
  usage = 2,                   // The command line itself is wrong.
  service_failed = 3,          // A required service could not start.
  host_unreachable = 4,        // No host, or nobody answers at its socket.
  no_such_service = 5,         // The host knows no service of this name.
  invalid_configuration = 78,  // As sysexits.h, EX_CONFIG.
};

[[nodiscard]] constexpr ExitCode exit_code_of(Errc code) {
  switch (code) {
    case Errc::not_found: return ExitCode::no_such_service;
    case Errc::unreachable_host: return ExitCode::host_unreachable;
    case Errc::start_failed: return ExitCode::service_failed;
    case Errc::invalid_configuration:
    case Errc::invalid_child_spec:
    case Errc::invalid_supervisor_spec: return ExitCode::invalid_configuration;
    case Errc::invalid_argument: return ExitCode::usage;
    default: return ExitCode::failure;
  }
}

}  // namespace unirun
