// Event: everything that happens, as a value. One list of payloads, UNIRUN_EVENTS below, gives the
// kinds, their names and their JSON; a new kind is one struct and one line in the list.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <nlohmann/json_fwd.hpp>

#include "framework/exit_reason.h"
#include "framework/run_id.h"
#include "framework/service_state.h"
#include "framework/time.h"

namespace unirun {

// ---- The host ----
struct HostStarted {
  std::string host;
  std::int64_t pid = 0;
  std::uint64_t seed = 0;  // Of the host's Random: jitter can be told again.
};
struct HostStopping {
  std::string cause;  // "SIGTERM", "unirun shutdown", "every supervisor has ended"
};
struct HostStopped {
  int exit_code = 0;
};

// ---- Supervisors ----
struct SupervisorStarted {
  std::uint64_t children = 0;
};
struct SupervisorGaveUp {  // OTP: reached_max_restart_intensity.
  std::string child;       // The id whose restart was one too many.
  std::uint64_t max_restarts = 0;
  Duration period{};
  ExitReason reason;
};
struct SupervisorProbing {  // on_exhausted: "probe": instead of ending, one try per interval.
  std::string child;
  Duration interval{};
};
struct SupervisorRecovered {  // A probe stayed up.
  std::string child;
};
struct SupervisorStopped {
  ExitReason reason;
};

// ---- Services ----
enum class StartCause : std::uint8_t { initial, restart, command, sibling, probe };
struct ServiceStarting {
  RunId run{};
  StartCause cause = StartCause::initial;
  std::uint64_t restarts = 0;  // Of this child so far, this one included.
};
struct ServiceStarted {  // Ready, that is.
  RunId run{};
  std::int64_t pid = 0;  // 0 where there is no process of its own.
  Duration startup{};    // From launch to ready.
};
struct ServiceExited {
  RunId run{};
  std::int64_t pid = 0;
  ExitReason reason;
  Duration uptime{};
  bool expected = false;  // We had asked for it.
  bool was_ready = false;
};
struct ServiceBackingOff {
  Duration delay{};
  std::uint64_t attempt = 0;  // Failures in a row.
  ExitReason reason;
};
struct ServiceStopping {
  RunId run{};
  std::string cause;  // "command", "sibling", "shutdown", "auto_shutdown", "start_timeout", ...
};
struct ServiceFailed {  // For good; nobody will restart it.
  ExitReason reason;
};
struct ServiceCompleted {
  ExitReason reason;
};
struct ServiceRemoved {};  // Its spec is gone.

// ---- What executors see of a service ----
struct ServiceLog {  // A structured record from a Python logger.
  RunId run{};
  std::string level;
  std::string logger;
  std::string message;
  std::string file;
  std::int64_t line = 0;
  std::map<std::string, std::string> extra{};  // What the record carries beside, as text.
};
struct ServiceStatusText {  // sd_notify STATUS=, or context.status().
  RunId run{};
  std::string text;
};
struct ServiceUnresponsive {  // Missed its heartbeat or probe; what follows is its end.
  RunId run{};
  Duration silence{};
  std::string probe;
};
struct LoopBlocked {    // It keeps the loop of the host, and all that lives there, from going on.
  RunId run{};          // None where it is the host's own work.
  Duration duration{};  // Up to now: it still does.
  std::string stack;    // Where it stands; empty where nobody can tell.
};
struct StraysKilled {  // Processes that outlived the service that had started them.
  std::uint64_t count = 0;
};

// ---- The house itself ----
struct Warning {  // Degraded, not stopped: a full disk under the journal, a lost log file.
  std::string what;
};
struct ObserverDropped {  // A slow observer's queue was full.
  std::string observer;
  std::uint64_t count = 0;
};

// clang-format off: one line a kind.
#define UNIRUN_EVENTS(X)                       \
  X(HostStarted, host_started)                 \
  X(HostStopping, host_stopping)               \
  X(HostStopped, host_stopped)                 \
  X(SupervisorStarted, supervisor_started)     \
  X(SupervisorGaveUp, supervisor_gave_up)      \
  X(SupervisorProbing, supervisor_probing)     \
  X(SupervisorRecovered, supervisor_recovered) \
  X(SupervisorStopped, supervisor_stopped)     \
  X(ServiceStarting, service_starting)         \
  X(ServiceStarted, service_started)           \
  X(ServiceExited, service_exited)             \
  X(ServiceBackingOff, service_backing_off)    \
  X(ServiceStopping, service_stopping)         \
  X(ServiceFailed, service_failed)             \
  X(ServiceCompleted, service_completed)       \
  X(ServiceRemoved, service_removed)           \
  X(ServiceLog, service_log)                   \
  X(ServiceStatusText, service_status_text)    \
  X(ServiceUnresponsive, service_unresponsive) \
  X(LoopBlocked, loop_blocked)                 \
  X(StraysKilled, strays_killed)               \
  X(Warning, warning)                          \
  X(ObserverDropped, observer_dropped)
// clang-format on

enum class EventKind : std::uint8_t {
#define X(type, word) word,
  UNIRUN_EVENTS(X)
#undef X
};

#define X(type, word) , type
using EventPayload = std::variant<std::monostate UNIRUN_EVENTS(X)>;
#undef X

// REQUIRES: a payload is set.
[[nodiscard]] inline EventKind kind_of(const EventPayload& payload) {
  return static_cast<EventKind>(payload.index() - 1);
}

struct Event {
  std::uint64_t sequence = 0;  // Grows by one; a gap means that something was dropped.
  Instant at{};
  WallTime wall{};
  std::string path;  // "pipeline/ingest"; empty for the host itself.
  EventPayload payload;

  // REQUIRES: a payload is set.
  [[nodiscard]] EventKind kind() const { return kind_of(payload); }
};

[[nodiscard]] std::string_view to_string(EventKind kind);
[[nodiscard]] std::optional<EventKind> event_kind_from(std::string_view word);
[[nodiscard]] std::string_view to_string(StartCause cause);

// {"sequence", "time" (RFC 3339), "monotonic" (s), "event", "path", then the payload's own
// members}; durations are seconds (numbers) at this edge.
[[nodiscard]] nlohmann::json to_json(const Event& event);

// Reads what to_json() writes. The wall time comes back to the millisecond.
[[nodiscard]] Result<Event> event_from_json(const nlohmann::json& json);

// One line for people, without time and path: "exited after 1.52 s: ValueError: no such job".
[[nodiscard]] std::string describe(const Event& event);

// As configured under "severity": error, warning, info or debug.
enum class Severity : std::uint8_t { debug, info, warning, error };
[[nodiscard]] std::string_view to_string(Severity severity);
[[nodiscard]] Severity severity_of(const Event& event);

}  // namespace unirun
