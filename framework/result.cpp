#include "framework/result.h"

#include <system_error>

namespace unirun {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::already_started: return "already_started";
    case Errc::already_present: return "already_present";
    case Errc::not_found: return "not_found";
    case Errc::running: return "running";
    case Errc::restarting: return "restarting";
    case Errc::simple_one_for_one: return "simple_one_for_one";
    case Errc::invalid_child_spec: return "invalid_child_spec";
    case Errc::invalid_supervisor_spec: return "invalid_supervisor_spec";
    case Errc::duplicate_id: return "duplicate_id";
    case Errc::start_failed: return "start_failed";
    case Errc::shutting_down: return "shutting_down";
    case Errc::invalid_argument: return "invalid_argument";
    case Errc::invalid_configuration: return "invalid_configuration";
    case Errc::system: return "system";
    case Errc::io: return "io";
    case Errc::unreachable_host: return "unreachable_host";
    case Errc::permission_denied: return "permission_denied";
    case Errc::timeout: return "timeout";
    case Errc::cancelled: return "cancelled";
    case Errc::unsupported: return "unsupported";
  }
  unreachable();
}

Error Error::from_errno(int error_number, std::string_view what) {
  std::string message(what);
  message += ": ";
  message += std::generic_category().message(error_number);
  return {Errc::system, std::move(message)};
}

}  // namespace unirun
