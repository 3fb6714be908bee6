#include "executors/python/error.h"

#include <fmt/format.h>

namespace unirun::python {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::ok: return "ok";
    case Errc::not_initialized: return "not_initialized";
    case Errc::already_initialized: return "already_initialized";
    case Errc::finalized: return "finalized";
    case Errc::queue_full: return "queue_full";
    case Errc::overloaded: return "overloaded";
    case Errc::timeout: return "timeout";
    case Errc::cancelled: return "cancelled";
    case Errc::interrupted: return "interrupted";
    case Errc::python_exception: return "python_exception";
    case Errc::import_failed: return "import_failed";
    case Errc::not_callable: return "not_callable";
    case Errc::conversion: return "conversion";
    case Errc::wrong_interpreter: return "wrong_interpreter";
    case Errc::depth_exceeded: return "depth_exceeded";
    case Errc::memory_limit: return "memory_limit";
    case Errc::worker_lost: return "worker_lost";
    case Errc::stuck: return "stuck";
    case Errc::loop_running: return "loop_running";
    case Errc::loop_stopped: return "loop_stopped";
    case Errc::stream_closed: return "stream_closed";
    case Errc::unsupported: return "unsupported";
    case Errc::unknown_function: return "unknown_function";
  }
  unreachable();
}

Error error_in(std::string_view place, Error error) {
  error.message = fmt::format("{}: {}", place, error.message);
  return error;
}

}  // namespace unirun::python
