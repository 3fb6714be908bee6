// What people see, held against what they should see: wide, narrow, with and without colours.

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "host/cli/render_answers.h"
#include "host/cli/render_event.h"
#include "host/cli/render_table.h"
#include "host/cli/run_summary.h"

namespace unirun {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr TextStyle plain{false, true, 0};
constexpr TextStyle ascii{false, false, 0};
constexpr TextStyle coloured{true, true, 0};
TextStyle narrow(std::size_t width) { return {false, true, width}; }

json a_status() {
  return json::parse(R"json({
    "host": {"name": "demo", "pid": 4711, "uptime": 93.0, "version": "0.1.0"},
    "services": [
      {"path": "pipeline/ingest-1", "state": "running", "pid": 812, "uptime": 12.5, "restarts": 0,
       "last_exit": null},
      {"path": "pipeline/parser", "state": "backing_off", "pid": null, "uptime": null,
       "restarts": 3, "retry_in": 1.5,
       "last_exit": {"kind": "signal", "signal": 11, "summary": "SIGSEGV (core dumped)"
}
}
    ]
    })json");
}

TEST_CASE("status is a table") {
  CHECK(render_status(a_status(), plain) ==
        "host demo, pid 4711, up 1 m 33 s, unirun 0.1.0\n"
        "\n"
        "SERVICE            STATE                     PID  UPTIME  RESTARTS  LAST EXIT\n"
        "pipeline/ingest-1  running                   812  12.5 s         0  -\n"
        "pipeline/parser    backing_off (1.5 s left)    -       -         3  SIGSEGV (core "
        "dumped)\n");
}

TEST_CASE("what services say of themselves has a column, where one of them says something") {
  json status = a_status();
  status["services"][0]["status"] = "12 of\n40";
  const std::string table = render_status(status, plain);
  CHECK(table.find("LAST EXIT              SAYS\n") != std::string::npos);
  CHECK(table.find("0  -                      12 of 40\n") != std::string::npos);
  json tree = json::parse(
      R"({"supervisors": [{"id": "a", "state": "running", "pid": 7, "status": "half way"}]})");
  CHECK(render_tree(tree, plain).find("a  running  pid 7  half way\n") != std::string::npos);
}

TEST_CASE("the tasks of services have a column, where one of them has had a pool") {
  json status = a_status();
  status["services"][0]["tasks"] = json::parse(
      R"({"submitted": 9, "completed": 5, "failed": 0, "cancelled": 1, "queued": 2, "running": 1})");
  std::string table = render_status(status, plain);
  CHECK(table.find("LAST EXIT              TASKS\n") != std::string::npos);
  CHECK(table.find("0  -                      1 running, 2 queued, 5 completed, 1 cancelled\n") !=
        std::string::npos);
  CHECK(table.find("SIGSEGV (core dumped)  -\n") != std::string::npos);
  status["services"][0]["tasks"] = json::object();
  table = render_status(status, plain);
  CHECK(table.find("none yet\n") != std::string::npos);
}

TEST_CASE("a narrow terminal cuts what can be cut, the last column first") {
  const std::string table = render_status(a_status(), narrow(72));
  CHECK(table.find("SIGSEG") != std::string::npos);
  CHECK(table.find("…") != std::string::npos);
  std::size_t begin = 0;
  while (begin < table.size()) {
    const std::size_t end = table.find('\n', begin);
    CHECK(columns_of(table.substr(begin, end - begin)) <= 72);
    begin = end + 1;
  }
}

TEST_CASE("an answer that lacks members is shown as far as it goes") {
  CHECK(render_status(json::object(), plain).find("host -") == 0);
  CHECK(render_status(json(7), plain).find("host -") == 0);
  CHECK(render_tree(json::object(), plain) == "host -\n");
  CHECK(render_services(json::array({json::object()}), plain).find("-  ") != std::string::npos);
  CHECK(render_why(json::object(), plain) == "This service has not died, as far as is known.\n");
}

json a_tree() {
  return json::parse(R"json({
    "host": {"name": "demo"},
    "supervisors": [
      {"id": "pipeline", "state": "running", "strategy": "rest_for_one", "children": [
        {"id": "parser", "state": "running", "pid": 1, "restarts": 2,
         "last_exit": {"summary": "exit code 3"}},
        {"id": "inner", "state": "running", "strategy": "one_for_all", "probing": true,
         "children": [{"id": "x", "state": "failed", "restarts": 0}]}]},
      {"id": "other", "state": "stopped", "children": []}
    ]})json");
}

TEST_CASE("the tree is drawn with lines, or with ASCII where there is nothing else") {
  CHECK(render_tree(a_tree(), plain) ==
        "host demo\n"
        "├─ pipeline  running  rest_for_one\n"
        "│  ├─ parser  running  pid 1  2 restarts: exit code 3\n"
        "│  └─ inner  running  one_for_all  probing\n"
        "│     └─ x  failed\n"
        "└─ other  stopped\n");
  CHECK(render_tree(a_tree(), ascii).find("|- pipeline") != std::string::npos);
  CHECK(render_tree(a_tree(), ascii).find("   `- x") != std::string::npos);
}

TEST_CASE("colours are there when asked for, and only then") {
  CHECK(render_tree(a_tree(), plain).find('\x1b') == std::string::npos);
  CHECK(render_tree(a_tree(), coloured).find("\x1b[31mfailed\x1b[0m") != std::string::npos);
}

TEST_CASE("why tells a death in sentences, from what happened to what was done") {
  const json answer = json::parse(R"json({
    "path": "pipeline/parser",
    "storm": {"count": 4, "since": "2026-03-01T12:00:00.000Z", "summary": "ValueError: no"},
    "deaths": [{
      "time": "2026-03-01T12:00:09.000Z", "path": "pipeline/parser", "summary": "ValueError: no",
      "uptime": 2.5, "was_ready": true, "pid": 99, "run": 7,
      "reason": {"kind": "exception", "peak_rss": 52428800,
                 "exception": {"type": "ValueError", "message": "no",
                               "traceback": "Traceback:\n  File \"x.py\", line 3\nValueError: no\n"}},
      "last_lines": ["reading 5", "oh\u001b[2Jno"],
      "rule": "permanent under rest_for_one", "decision": "restarted", "delay": 0.2, "restarts": 4,
      "also_stopped": ["pipeline/consumer"]}]})json");
  CHECK(render_why(answer, plain) ==
        "The last 4 deaths had the same cause, since 2026-03-01T12:00:00.000Z: ValueError: no. "
        "Look at the cause, not at the service.\n"
        "\n"
        "2026-03-01T12:00:09.000Z  pipeline/parser ended: ValueError: no\n"
        "  It had run for 2.5 s (pid 99, run 7).\n"
        "  It used 50.0 MiB of memory at most.\n"
        "  Its traceback:\n"
        "    Traceback:\n"
        "      File \"x.py\", line 3\n"
        "    ValueError: no\n"
        "  Its last words:\n"
        "    reading 5\n"
        "    oh [2Jno\n"
        "  The rule: permanent under rest_for_one.\n"
        "  So it was restarted, after 200 ms (4 restarts so far).\n"
        "  With it went pipeline/consumer.\n");
}

TEST_CASE(
    "why tells how often a cause was seen, and of a service without a process that it had none") {
  json death = json::parse(R"json({"path": "a/b", "summary": "SIGSEGV", "uptime": 1.0, "pid": 0,
      "run": 7, "fingerprint": "signal signal=11", "seen": {"count": 1, "since": "yesterday"}})json");
  const auto told = [&] { return render_why({{"path", "a/b"}, {"deaths", {death}}}, plain); };
  CHECK(told().find("It had run for 1 s (inside the host, run 7).\n") != std::string::npos);
  CHECK(told().find("This cause is new: signal signal=11.\n") != std::string::npos);
  death["seen"]["count"] = 3U;
  CHECK(told().find("This cause has been seen 3 times since yesterday: signal signal=11.\n") !=
        std::string::npos);
}

Event event(const std::string& path, EventPayload payload) {
  Event made;
  made.path = path;
  made.wall = WallTime{std::chrono::seconds{1'700'000'000} + 123ms};
  made.payload = std::move(payload);
  return made;
}

TEST_CASE("an event is a line: time, path, what happened") {
  setenv("TZ", "UTC", 1);
  EventRenderer renderer(plain);
  ServiceStarted started;
  started.pid = 12;
  started.startup = 15ms;
  CHECK(renderer.render(event("pipeline/ingest", started)) ==
        "22:13:20.123  pipeline/ingest  ready after 15 ms, pid 12\n");
  // Later paths line up with the longest so far.
  CHECK(renderer.render(event("a", ServiceRemoved{})) ==
        "22:13:20.123  a                removed\n");
}

TEST_CASE("what a service says cannot move the cursor") {
  ServiceLog log;
  log.level = "INFO";
  log.logger = "x";
  log.message = "a\x1b[2J\nb";
  EventRenderer renderer(plain);
  const std::string line = renderer.render(event("a", log));
  CHECK(line.find('\x1b') == std::string::npos);
  CHECK(line.find('\n') == line.size() - 1);
}

TEST_CASE("the summary counts starts, and restarts by what they followed") {
  RunSummary summary;
  const auto start = [&](StartCause cause) {
    ServiceStarting starting;
    starting.cause = cause;
    summary.add(event("s/w", starting));
    summary.add(event("s/w", ServiceStarted{}));
  };
  const auto die = [&](ExitReason reason) {
    ServiceExited exited;
    exited.reason = std::move(reason);
    summary.add(event("s/w", exited));
  };
  ExitReason segfault = ExitReason::of(ExitKind::signal);
  segfault.signal = 11;
  ExitReason error = ExitReason::of(ExitKind::exception);
  error.exception = ExceptionText{"ValueError", "job 17", ""};
  start(StartCause::initial);
  die(error);
  error.exception->message = "job 18";
  start(StartCause::restart);
  die(error);
  start(StartCause::restart);
  die(segfault);
  start(StartCause::restart);
  start(StartCause::command);
  die(ExitReason::shutdown());
  CHECK(summary.render(plain) ==
        "SERVICE  STATE    STARTS  RESTARTS  CAUSES                   LAST EXIT\n"
        "s/w      stopped       5         3  ValueError 2, SIGSEGV 1  shutdown\n");
  const json told = summary.to_json().at("summary").at("services").at(0);
  CHECK(told.at("causes") == json{{"ValueError", 2}, {"SIGSEGV", 1}});
  CHECK(told.at("restarts") == 3);
}

TEST_CASE("after the host's end nothing waits for a start any more") {
  RunSummary summary;
  summary.add(event("s/w", ServiceBackingOff{}));
  summary.add(event("s/done", ServiceCompleted{}));
  summary.add(event("", HostStopped{}));
  const json services = summary.to_json().at("summary").at("services");
  CHECK(services.at(0).at("state") == "completed");
  CHECK(services.at(1).at("state") == "stopped");
}

TEST_CASE("a thousand causes of restarts keep the summary small") {
  RunSummary summary;
  for (int i = 0; i < 1'000; ++i) {
    ServiceExited exited;
    exited.reason = ExitReason::of(ExitKind::exception);
    exited.reason.exception = ExceptionText{"Error" + std::to_string(i), "", ""};
    summary.add(event("s/w", exited));
    ServiceStarting starting;
    starting.cause = StartCause::restart;
    summary.add(event("s/w", starting));
  }
  const json told = summary.to_json().at("summary").at("services").at(0);
  CHECK(told.at("restarts") == 1'000);
  CHECK(told.at("causes").size() <= 33);
  CHECK(told.at("causes").at("other") == 968);
}

TEST_CASE("texts are measured in columns, not bytes") {
  CHECK(columns_of("naïve") == 5);
  CHECK(columns_of("日本") == 4);
  CHECK(columns_of("\xff\xff") == 2);
  CHECK(fit("naïve text", 6, plain) == "naïve…");
  CHECK(fit("naïve text", 6, ascii) == "naïve~");
  CHECK(fit("abc", 3, plain) == "abc");
  CHECK(fit("abc", 0, plain).empty());
}

TEST_CASE("colours follow the terminal, NO_COLOR and TERM") {
  const auto none = [](const char*) { return std::nullopt; };
  CHECK_FALSE(TextStyle::of(-1, none).colour);  // No terminal.
  CHECK(TextStyle::of(-1, none).width == 0);
  const auto utf8 = [](const char* name) -> std::optional<std::string> {
    return std::string(name) == "LANG" ? std::optional<std::string>("de_DE.UTF-8") : std::nullopt;
  };
  CHECK(TextStyle::of(-1, utf8).unicode);
}

TEST_CASE("a line of output shows time, stream and text") {
  const json line = {{"time", "2026-03-01T12:00:09.123Z"},
                     {"stream", "stderr"},
                     {"path", "a/b-1"},
                     {"text", "oops"}};
  CHECK(render_log_line(line, false, plain) == "12:00:09.123  oops\n");
  CHECK(render_log_line(line, true, plain) == "12:00:09.123  a/b-1  oops\n");
  CHECK(render_log_line(line, false, coloured).find("\x1b[33moops") != std::string::npos);
}

}  // namespace
}  // namespace unirun
