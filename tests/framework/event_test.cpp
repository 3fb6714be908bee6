#include "framework/event.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

namespace unirun {
namespace {

using namespace std::chrono_literals;

ExitReason reason() {
  ExitReason died = ExitReason::of(ExitKind::exit_code);
  died.exit_code = 3;
  return died;
}

// One of each kind with every member set, in the order of the list.
std::vector<EventPayload> one_of_each() {
  return {HostStarted{"demo", 12, 18446744073709551615u},
          HostStopping{"SIGTERM"},
          HostStopped{3},
          SupervisorStarted{1},
          SupervisorGaveUp{"ingest", 3, 10s, reason()},
          SupervisorProbing{"ingest", 30s},
          SupervisorRecovered{"ingest"},
          SupervisorStopped{ExitReason::shutdown()},
          ServiceStarting{RunId{7}, StartCause::restart, 2},
          ServiceStarted{RunId{7}, 99, 2ms},
          ServiceExited{RunId{7}, 99, reason(), 1'520'000'001ns, false, true},
          ServiceBackingOff{100ms, 2, reason()},
          ServiceStopping{RunId{7}, "command"},
          ServiceFailed{reason()},
          ServiceCompleted{ExitReason::normal()},
          ServiceRemoved{},
          ServiceLog{RunId{7}, "ERROR", "jobs", "no \"such\" job\n", "jobs.py", 12, {{"job", "7"}}},
          ServiceStatusText{RunId{7}, "12 of 40"},
          ServiceUnresponsive{RunId{7}, 5s, "heartbeat"},
          LoopBlocked{RunId{7}, 2s, "in poll()"},
          StraysKilled{2},
          Warning{"the journal's disk is full"},
          ObserverDropped{"slow", 4}};
}

Event event_of(EventPayload payload) {
  return {42, Instant{123'456'789'012ns}, WallTime{1'700'000'000'123ms}, "pipeline/ingest",
          std::move(payload)};
}

TEST_CASE("every kind of event survives JSON, each member of it") {
  const std::vector<EventPayload> payloads = one_of_each();
  REQUIRE(payloads.size() == std::variant_size_v<EventPayload> - 1);
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    const Event event = event_of(payloads[i]);
    CHECK(event.payload.index() == i + 1);
    const nlohmann::json json = to_json(event);
    CAPTURE(json.dump());
    const Result<Event> back = event_from_json(nlohmann::json::parse(json.dump()));
    REQUIRE(back);
    CHECK(to_json(*back) == json);
    CHECK(back->at == event.at);
    CHECK(back->wall == event.wall);
    CHECK(back->kind() == event.kind());

    // A default payload differs in every member: what is written is the member, not its default.
    Event bare = event;
    std::visit([&](auto payload) { bare.payload = decltype(payload){}; }, event.payload);
    const nlohmann::json bare_json = to_json(bare);
    for (auto member = bare_json.begin(); member != bare_json.end(); ++member) {
      const std::string& key = member.key();
      static const std::set<std::string> common = {"sequence", "time", "monotonic", "event",
                                                   "path"};
      CAPTURE(key);
      if (common.count(key) == 0 && key != "reason" && key != "expected")
        CHECK(json[key] != *member);
    }
  }
}

TEST_CASE("an event's JSON has its frame and the payload's own members, durations in seconds") {
  CHECK(to_json(event_of(ServiceBackingOff{100ms, 2, reason()})).dump() ==
        R"({"attempt":2,"delay":0.1,"event":"service_backing_off","monotonic":123.456789012,)"
        R"("path":"pipeline/ingest","reason":{"exit_code":3,"kind":"exit_code"},"sequence":42,)"
        R"("time":"2023-11-14T22:13:20.123Z"})");
}

TEST_CASE("what is no event is refused with a reason, and nothing is thrown") {
  const nlohmann::json good = to_json(event_of(ServiceStarting{RunId{7}, StartCause::probe, 2}));
  REQUIRE(event_from_json(good));
  for (const char* member : {"event", "time", "sequence", "monotonic", "path", "run", "cause"}) {
    CAPTURE(member);
    nlohmann::json missing = good;
    missing.erase(member);
    CHECK_FALSE(event_from_json(missing));
    nlohmann::json wrong = good;
    wrong[member] = nlohmann::json::array();
    const Result<Event> refused = event_from_json(wrong);
    REQUIRE_FALSE(refused);
    CHECK_FALSE(refused.error().message.empty());
  }
  nlohmann::json unknown = good;
  unknown["event"] = "service_exploded";
  CHECK(event_from_json(unknown).error().message.find("service_exploded") != std::string::npos);
  CHECK_FALSE(event_from_json(nlohmann::json(3)));
}

TEST_CASE("every kind has a word of its own, and the word leads back") {
  std::set<std::string_view> words;
  for (const EventPayload& payload : one_of_each()) {
    const EventKind kind = kind_of(payload);
    CHECK(event_kind_from(to_string(kind)) == kind);
    words.insert(to_string(kind));
  }
  CHECK(words.size() == one_of_each().size());
  CHECK(to_string(EventKind::service_backing_off) == "service_backing_off");
  CHECK_FALSE(event_kind_from("no_such_kind"));
}

TEST_CASE("an event reads as a line for people") {
  const auto line = [](EventPayload payload) { return describe(event_of(std::move(payload))); };
  CHECK(line(ServiceExited{RunId{7}, 99, reason(), 1520ms, false, true}) ==
        "exited after 1.52 s: exit code 3");
  CHECK(line(SupervisorStarted{1}) == "supervisor started with 1 child");
  CHECK(line(SupervisorGaveUp{"ingest", 3, 10s, reason()}) ==
        "gave up: \"ingest\" needed more than 3 restarts in 10 s: exit code 3");
  CHECK(line(ServiceStarting{RunId{1}, StartCause::initial, 0}) == "starting");
  CHECK(line(ServiceStarting{RunId{1}, StartCause::restart, 2}) ==
        "starting (restart, 2 restarts so far)");
  CHECK(line(ServiceBackingOff{100ms, 1, reason()}) ==
        "waiting 100 ms before attempt 2: exit code 3");
  CHECK(line(ServiceStarted{RunId{1}, 0, 2ms}) == "ready after 2 ms");
  for (const EventPayload& payload : one_of_each()) CHECK_FALSE(line(payload).empty());
}

TEST_CASE("severity follows what happened, not the kind alone") {
  const auto severity = [](EventPayload p) { return severity_of(event_of(std::move(p))); };
  ServiceExited exited;
  exited.reason = reason();
  CHECK(severity(exited) == Severity::warning);
  exited.expected = true;
  CHECK(severity(exited) == Severity::info);
  CHECK(severity(ServiceExited{}) == Severity::info);
  CHECK(severity(SupervisorGaveUp{}) == Severity::error);
  CHECK(severity(ServiceFailed{}) == Severity::error);
  CHECK(severity(ServiceStarting{}) == Severity::debug);
  CHECK(severity(HostStarted{}) == Severity::info);
  for (const auto& [level, expected] : {std::pair{"CRITICAL", Severity::error},
                                        {"ERROR", Severity::error},
                                        {"WARNING", Severity::warning},
                                        {"INFO", Severity::info},
                                        {"DEBUG", Severity::debug}}) {
    ServiceLog log;
    log.level = level;
    CHECK(severity(log) == expected);
  }
  CHECK(to_string(Severity::warning) == "warning");
}

}  // namespace
}  // namespace unirun
