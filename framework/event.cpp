#include "framework/event.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <tuple>
#include <type_traits>

#include "framework/require.h"

namespace unirun {
namespace {

// ---- The members of each payload, once: what is written to JSON is what is read back. ----

template <class Payload, class Type>
struct Member {
  const char* name;
  Type Payload::*pointer;
};
template <class Payload, class Type>
Member(const char*, Type Payload::*) -> Member<Payload, Type>;  // For clang before 17.

template <class... Member>
constexpr auto list(Member... members) {
  return std::tuple{members...};
}

// clang-format off
constexpr auto members_of(const HostStarted*) { return list(
    Member{"host", &HostStarted::host}, Member{"pid", &HostStarted::pid},
    Member{"seed", &HostStarted::seed}); }
constexpr auto members_of(const HostStopping*) { return list(
    Member{"cause", &HostStopping::cause}); }
constexpr auto members_of(const HostStopped*) { return list(
    Member{"exit_code", &HostStopped::exit_code}); }
constexpr auto members_of(const SupervisorStarted*) { return list(
    Member{"children", &SupervisorStarted::children}); }
constexpr auto members_of(const SupervisorGaveUp*) { return list(
    Member{"child", &SupervisorGaveUp::child},
    Member{"max_restarts", &SupervisorGaveUp::max_restarts},
    Member{"period", &SupervisorGaveUp::period}, Member{"reason", &SupervisorGaveUp::reason}); }
constexpr auto members_of(const SupervisorProbing*) { return list(
    Member{"child", &SupervisorProbing::child}, Member{"interval", &SupervisorProbing::interval}); }
constexpr auto members_of(const SupervisorRecovered*) { return list(
    Member{"child", &SupervisorRecovered::child}); }
constexpr auto members_of(const SupervisorStopped*) { return list(
    Member{"reason", &SupervisorStopped::reason}); }
constexpr auto members_of(const ServiceStarting*) { return list(
    Member{"run", &ServiceStarting::run}, Member{"cause", &ServiceStarting::cause},
    Member{"restarts", &ServiceStarting::restarts}); }
constexpr auto members_of(const ServiceStarted*) { return list(
    Member{"run", &ServiceStarted::run}, Member{"pid", &ServiceStarted::pid},
    Member{"startup", &ServiceStarted::startup}); }
constexpr auto members_of(const ServiceExited*) { return list(
    Member{"run", &ServiceExited::run}, Member{"pid", &ServiceExited::pid},
    Member{"reason", &ServiceExited::reason}, Member{"uptime", &ServiceExited::uptime},
    Member{"expected", &ServiceExited::expected}, Member{"was_ready", &ServiceExited::was_ready}); }
constexpr auto members_of(const ServiceBackingOff*) { return list(
    Member{"delay", &ServiceBackingOff::delay}, Member{"attempt", &ServiceBackingOff::attempt},
    Member{"reason", &ServiceBackingOff::reason}); }
constexpr auto members_of(const ServiceStopping*) { return list(
    Member{"run", &ServiceStopping::run}, Member{"cause", &ServiceStopping::cause}); }
constexpr auto members_of(const ServiceFailed*) { return list(
    Member{"reason", &ServiceFailed::reason}); }
constexpr auto members_of(const ServiceCompleted*) { return list(
    Member{"reason", &ServiceCompleted::reason}); }
constexpr auto members_of(const ServiceRemoved*) { return list(); }
constexpr auto members_of(const ServiceLog*) { return list(
    Member{"run", &ServiceLog::run}, Member{"level", &ServiceLog::level},
    Member{"logger", &ServiceLog::logger}, Member{"message", &ServiceLog::message},
    Member{"file", &ServiceLog::file}, Member{"line", &ServiceLog::line},
    Member{"extra", &ServiceLog::extra}); }
constexpr auto members_of(const ServiceStatusText*) { return list(
    Member{"run", &ServiceStatusText::run}, Member{"text", &ServiceStatusText::text}); }
constexpr auto members_of(const ServiceUnresponsive*) { return list(
    Member{"run", &ServiceUnresponsive::run}, Member{"silence", &ServiceUnresponsive::silence},
    Member{"probe", &ServiceUnresponsive::probe}); }
constexpr auto members_of(const LoopBlocked*) { return list(
    Member{"run", &LoopBlocked::run}, Member{"duration", &LoopBlocked::duration},
    Member{"stack", &LoopBlocked::stack}); }
constexpr auto members_of(const StraysKilled*) { return list(
    Member{"count", &StraysKilled::count}); }
constexpr auto members_of(const Warning*) { return list(
    Member{"what", &Warning::what}); }
constexpr auto members_of(const ObserverDropped*) { return list(
    Member{"observer", &ObserverDropped::observer}, Member{"count", &ObserverDropped::count}); }
// clang-format on

// How many members an aggregate has: it is initialised with ever more values until one is too many.
struct AnyValue {
  template <class Type>
  operator Type() const;
};
template <class Aggregate, class... Values>
constexpr std::size_t arity() {
  if constexpr (requires { Aggregate{Values{}..., AnyValue{}}; }) {
    return arity<Aggregate, Values..., AnyValue>();
  } else {
    return sizeof...(Values);
  }
}
#define X(type, word)                                                                              \
  static_assert(                                                                                   \
      arity<type>() == std::tuple_size_v<decltype(members_of(static_cast<const type*>(nullptr)))>, \
      "every member of " #type " stands in members_of()");
UNIRUN_EVENTS(X)
#undef X

template <class Payload, class Visit>
void for_each_member(Visit visit) {
  std::apply([&](const auto&... member) { (visit(member), ...); },
             members_of(static_cast<const Payload*>(nullptr)));
}

// ---- Values that JSON writes differently ----

constexpr auto last_cause = StartCause::probe;

nlohmann::json written(RunId run) { return static_cast<std::uint64_t>(run); }
nlohmann::json written(StartCause cause) { return to_string(cause); }
nlohmann::json written(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}
template <class Value>
nlohmann::json written(const Value& value) {
  return value;
}

template <class Value>
void read(const nlohmann::json& json, Value& value) {
  if constexpr (std::is_same_v<Value, RunId>) {
    value = static_cast<RunId>(json.get<std::uint64_t>());
  } else if constexpr (std::is_same_v<Value, Duration>) {
    value = Duration{std::llround(json.get<double>() * 1e9)};
  } else if constexpr (std::is_same_v<Value, StartCause>) {
    for (int i = 0; i <= static_cast<int>(last_cause); ++i) {
      value = static_cast<StartCause>(i);
      if (to_string(value) == json.get_ref<const std::string&>()) return;
    }
    throw std::invalid_argument(fmt::format("{} is no cause of a start", json.dump()));
  } else {
    json.get_to(value);
  }
}

template <class Payload>
EventPayload read_payload(const nlohmann::json& json) {
  Payload payload;
  for_each_member<Payload>([&](const auto& member) {
    auto& value = payload.*member.pointer;
    // A journal of before this member was thought of; an empty one says the same.
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::map<std::string, std::string>>)
      if (!json.contains(member.name)) return;
    read(json.at(member.name), value);
  });
  return payload;
}

// The kinds in order, for what is looked up by word or by number.
constexpr std::string_view words[] = {
#define X(type, word) #word,
    UNIRUN_EVENTS(X)
#undef X
};
static_assert(std::size(words) <= 64, "EventKinds holds one bit a kind");

// ---- For people ----

std::string plural(std::uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}
std::string with_pid(std::int64_t pid) { return pid == 0 ? "" : fmt::format(", pid {}", pid); }

std::string text(const HostStarted& e) {
  return fmt::format("host \"{}\" started, pid {}", e.host, e.pid);
}
std::string text(const HostStopping& e) { return "host is stopping: " + e.cause; }
std::string text(const HostStopped& e) {
  return fmt::format("host stopped, exit code {}", e.exit_code);
}
std::string text(const SupervisorStarted& e) {
  return "supervisor started with " + plural(e.children, "child", "children");
}
std::string text(const SupervisorGaveUp& e) {
  return fmt::format("gave up: \"{}\" needed more than {} in {}: {}", e.child,
                     plural(e.max_restarts, "restart", "restarts"), describe_duration(e.period),
                     e.reason.describe());
}
std::string text(const SupervisorProbing& e) {
  return fmt::format("probing \"{}\" every {}", e.child, describe_duration(e.interval));
}
std::string text(const SupervisorRecovered& e) {
  return fmt::format("recovered: \"{}\" stays up", e.child);
}
std::string text(const SupervisorStopped& e) {
  return "supervisor stopped: " + e.reason.describe();
}
std::string text(const ServiceStarting& e) {
  if (e.cause == StartCause::initial) return "starting";
  return fmt::format("starting ({}, {} so far)", to_string(e.cause),
                     plural(e.restarts, "restart", "restarts"));
}
std::string text(const ServiceStarted& e) {
  return fmt::format("ready after {}{}", describe_duration(e.startup), with_pid(e.pid));
}
std::string text(const ServiceExited& e) {
  return fmt::format("{} after {}: {}", e.expected ? "stopped" : "exited",
                     describe_duration(e.uptime), e.reason.describe());
}
std::string text(const ServiceBackingOff& e) {
  return fmt::format("waiting {} before attempt {}: {}", describe_duration(e.delay), e.attempt + 1,
                     e.reason.describe());
}
std::string text(const ServiceStopping& e) { return fmt::format("stopping ({})", e.cause); }
std::string text(const ServiceFailed& e) { return "failed for good: " + e.reason.describe(); }
std::string text(const ServiceCompleted& e) { return "completed: " + e.reason.describe(); }
std::string text(const ServiceRemoved&) { return "removed"; }
std::string text(const ServiceLog& e) {
  return fmt::format("{} {}: {}", e.level, e.logger, e.message);
}
std::string text(const ServiceStatusText& e) { return "status: " + e.text; }
std::string text(const ServiceUnresponsive& e) {
  return fmt::format("silent for {} ({})", describe_duration(e.silence), e.probe);
}
std::string text(const LoopBlocked& e) {
  return fmt::format("has kept the loop for {}, and still does", describe_duration(e.duration));
}
std::string text(const StraysKilled& e) {
  return fmt::format("killed {} left behind", plural(e.count, "process", "processes"));
}
std::string text(const Warning& e) { return e.what; }
std::string text(const ObserverDropped& e) {
  return fmt::format("observer \"{}\" is too slow: {} dropped", e.observer,
                     plural(e.count, "event", "events"));
}

// ---- How much it matters: information, unless said otherwise ----

template <class Payload>
Severity severity(const Payload&) {
  return Severity::info;
}
Severity severity(const SupervisorGaveUp&) { return Severity::error; }
Severity severity(const SupervisorProbing&) { return Severity::warning; }
Severity severity(const ServiceStarting&) { return Severity::debug; }
Severity severity(const ServiceStopping&) { return Severity::debug; }
Severity severity(const ServiceExited& e) {
  return e.expected || e.reason.is_clean() ? Severity::info : Severity::warning;
}
Severity severity(const ServiceBackingOff&) { return Severity::warning; }
Severity severity(const ServiceFailed&) { return Severity::error; }
Severity severity(const ServiceStatusText&) { return Severity::debug; }
Severity severity(const ServiceUnresponsive&) { return Severity::warning; }
Severity severity(const LoopBlocked&) { return Severity::warning; }
Severity severity(const StraysKilled&) { return Severity::warning; }
Severity severity(const Warning&) { return Severity::warning; }
Severity severity(const ObserverDropped&) { return Severity::warning; }
Severity severity(const ServiceLog& e) {  // The names of Python's logging.
  if (e.level == "CRITICAL" || e.level == "ERROR") return Severity::error;
  if (e.level == "WARNING") return Severity::warning;
  return e.level == "DEBUG" ? Severity::debug : Severity::info;
}

// Calls `visit` with the payload. REQUIRES: one is set.
template <class Visit>
auto with_payload(const Event& event, Visit visit) {
  UNIRUN_REQUIRE(event.payload.index() != 0);
  switch (event.kind()) {
#define X(type, word) \
  case EventKind::word: return visit(*std::get_if<type>(&event.payload));
    UNIRUN_EVENTS(X)
#undef X
  }
  unreachable();
}

}  // namespace

std::string_view to_string(EventKind kind) { return words[static_cast<std::size_t>(kind)]; }

std::optional<EventKind> event_kind_from(std::string_view word) {
  for (std::size_t i = 0; i < std::size(words); ++i) {
    if (words[i] == word) return static_cast<EventKind>(i);
  }
  return std::nullopt;
}

std::string_view to_string(StartCause cause) {
  switch (cause) {
    case StartCause::initial: return "initial";
    case StartCause::restart: return "restart";
    case StartCause::command: return "command";
    case StartCause::sibling: return "sibling";
    case StartCause::probe: return "probe";
  }
  unreachable();
}

nlohmann::json to_json(const Event& event) {
  nlohmann::json json = {{"sequence", event.sequence},
                         {"time", format_wall_time(event.wall)},
                         {"monotonic", written(event.at.time_since_epoch())},
                         {"event", to_string(event.kind())},
                         {"path", event.path}};
  with_payload(event, [&](const auto& payload) {
    for_each_member<std::decay_t<decltype(payload)>>(
        [&](const auto& member) { json[member.name] = written(payload.*member.pointer); });
  });
  return json;
}

Result<Event> event_from_json(const nlohmann::json& json) {
  try {
    const auto& word = json.at("event").get_ref<const std::string&>();
    const std::optional<EventKind> kind = event_kind_from(word);
    if (!kind) {
      return Error{Errc::invalid_argument, fmt::format("/event: \"{}\" is no kind of event", word)};
    }
    Result<WallTime> wall = parse_wall_time(json.at("time").get_ref<const std::string&>());
    if (!wall) return Error{Errc::invalid_argument, "/time: " + wall.error().message};

    Event event;
    event.sequence = json.at("sequence").get<std::uint64_t>();
    event.wall = *wall;
    Duration since_epoch{};
    read(json.at("monotonic"), since_epoch);
    event.at = Instant{since_epoch};
    event.path = json.at("path").get<std::string>();
    switch (*kind) {
#define X(type, word) \
  case EventKind::word: event.payload = read_payload<type>(json); break;
      UNIRUN_EVENTS(X)
#undef X
    }
    return event;
  } catch (const std::exception& error) {  // nlohmann's, or one of our from_json's.
    return Error{Errc::invalid_argument, fmt::format("this is not an event: {}", error.what())};
  }
}

std::string describe(const Event& event) {
  return with_payload(event, [](const auto& payload) { return text(payload); });
}

std::string_view to_string(Severity severity) {
  switch (severity) {
    case Severity::debug: return "debug";
    case Severity::info: return "info";
    case Severity::warning: return "warning";
    case Severity::error: return "error";
  }
  unreachable();
}

Severity severity_of(const Event& event) {
  return with_payload(event, [](const auto& payload) { return severity(payload); });
}

}  // namespace unirun
