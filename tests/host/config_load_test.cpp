// What is wrong with a configuration, and how it is said: every fault at once, each with its place,
// what was found, what would be right.

#include "host/config/load_config.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "host/config/internal/target_check.h"
#include "host/config/spec_json.h"
#include "tests/host/config_fixture.h"

namespace unirun {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

TEST_CASE("the shortest configuration loads, with OTP's defaults (item 2)") {
  const LoadOutcome outcome = parse_config(
      R"({"supervisors": [{"id": "s", "children": [{"id": "w", "command": ["true"]}]}]})",
      "configs/mine.json", plain_options());
  REQUIRE_MESSAGE(outcome.ok(), describe(outcome.faults, "mine.json"));
  const HostConfig& config = *outcome.config;
  CHECK(config.name == "mine");
  CHECK(config.root.max_restarts == 1);
  CHECK(config.root.period == 5s);
  REQUIRE(config.root.children.size() == 1);
  const SupervisorSpec& supervisor = *config.root.children[0].supervisor;
  CHECK(supervisor.strategy == RestartStrategy::one_for_one);
  CHECK(supervisor.auto_shutdown == AutoShutdown::never);
  const ChildSpec& worker = supervisor.children.at(0);
  CHECK(worker.restart == Restart::permanent);
  CHECK_FALSE(worker.significant);
  CHECK(worker.effective_shutdown() == Shutdown{Duration{5s}});
  CHECK(config.root.children[0].effective_shutdown() == Shutdown{Infinity{}});
  CHECK(std::get<CommandTarget>(worker.service->target).argv == std::vector<std::string>{"true"});
}

TEST_CASE("every key reaches its place in the specs") {
  const LoadOutcome outcome = load_config(in_source_tree("configs/full.json"), full_options());
  REQUIRE_MESSAGE(outcome.ok(), describe(outcome.faults, "configs/full.json"));
  const HostConfig& config = *outcome.config;
  CHECK(config.name == "full");
  CHECK(config.seed == 42);
  CHECK(config.journal_file == config.state_dir + "/journal.sqlite");
  CHECK(config.control_socket.substr(config.control_socket.size() - 20) == "/build/run/full.sock");

  const ChildSpec& pipeline = config.root.children.at(0);
  CHECK(pipeline.depends_on.at(0).id == "batch");
  CHECK(pipeline.backoff.kind == Backoff::Kind::fixed);
  const SupervisorSpec& spec = *pipeline.supervisor;
  CHECK(spec.strategy == RestartStrategy::rest_for_one);
  CHECK(spec.max_restarts == 3);
  CHECK(spec.period == 10s);
  CHECK(spec.on_exhausted == OnExhausted::probe);
  REQUIRE(spec.children.size() == 6);  // server, worker-1 to worker-4, sockets

  const ChildSpec& server = spec.children[0];
  CHECK(server.start_timeout == 10s);
  CHECK(server.backoff.jitter == 1.0);
  const ServiceSpec& service = *server.service;
  CHECK(std::get<LogReadiness>(service.readiness).pattern == "^listening");
  CHECK(std::get<ExecLiveness>(service.liveness).max_failures == 3);
  CHECK(service.umask == 022u);
  CHECK(service.rlimits.at("nofile").soft == 1024u);
  CHECK(service.rlimits.at("nofile").hard == 4096u);
  CHECK(service.rlimits.at("as").hard == std::uint64_t{8} << 30);
  CHECK_FALSE(service.rlimits.at("cpu").soft.has_value());
  CHECK(service.nice == 0);
  CHECK(service.no_new_privs);
  CHECK(service.output.ring_bytes == 64u << 10);
  CHECK(service.output.file == config.state_dir + "/logs/{path}.log");
  CHECK(service.success_exit_codes == std::set<int>{3});
  CHECK(service.env.at("TOKEN") == "/home/tester");
  CHECK(service.secret_env == std::set<std::string>{"TOKEN", "LICENSE_TEXT"});

  const ChildSpec& third = spec.children[3];
  CHECK(third.id == "worker-3");
  CHECK(third.instance == 3u);
  CHECK(third.service == spec.children[2].service);
  CHECK(std::get<HeartbeatLiveness>(third.service->liveness).timeout == 10s);
  CHECK(third.service->config == json{{"batch", 100}});
  const ServiceGroup* group = config.group("pipeline", "worker");
  REQUIRE(group != nullptr);
  CHECK(group->instances == 4);
  CHECK(instance_of(*group, 5).id == "worker-5");

  const ChildSpec& web = spec.children[5].supervisor->children.at(2);
  const auto& ready = std::get<HttpReadiness>(web.service->readiness);
  CHECK(ready.check.port == 8080);
  CHECK(ready.check.status_from == 200);
  CHECK(ready.check.status_to == 399);
  const auto& alive = std::get<HttpLiveness>(web.service->liveness);
  CHECK(alive.check.status_from == 200);
  CHECK(alive.check.status_to == 200);
  CHECK(alive.check.headers == std::map<std::string, std::string>{{"Accept", "*/*"}});
  CHECK(alive.max_failures == 3);
  CHECK(service.log_level == "info");

  const ChildSpec& report = config.root.children[1].supervisor->children.at(1);
  CHECK(report.depends_on.at(0).condition == DependencyCondition::completed);
  CHECK(report.service->user == "root");
}

TEST_CASE("a dependency on a service with instances is one on each of them") {
  const LoadOutcome outcome = load({{"id", "a"}, {"command", {"true"}}, {"instances", 2}},
                                   {{"id", "b"}, {"command", {"true"}}, {"depends_on", {"a"}}});
  REQUIRE(outcome.ok());
  const auto& children = outcome.config->root.children[0].supervisor->children;
  REQUIRE(children.size() == 3);
  REQUIRE(children[2].depends_on.size() == 2);
  CHECK(children[2].depends_on[1].id == "a-2");
}

TEST_CASE("a configuration reads itself back from its own JSON") {
  const LoadOutcome outcome = load_config(in_source_tree("configs/full.json"), full_options());
  REQUIRE(outcome.ok());
  json again = to_json(*outcome.config);
  // "***" is no secret; the text of a masked value is all that may differ.
  const LoadOutcome second = config_from_json(again, full_options());
  REQUIRE_MESSAGE(second.ok(), describe(second.faults, "its own JSON"));
  CHECK(to_json(*second.config) == again);
}

TEST_CASE("secrets show in no output") {
  LoadOptions options = full_options();
  const LoadOutcome outcome = load_config(in_source_tree("configs/full.json"), options);
  REQUIRE(outcome.ok());
  CHECK(to_json(*outcome.config).dump().find("/home/tester") == std::string::npos);
  CHECK(mask("TOKEN is /home/tester!", outcome.config->secrets) == "TOKEN is ***!");
}

TEST_CASE("a key that nobody knows is named together with the one that was meant") {
  const auto faults = faults_of({{"id", "w"}, {"comand", {"true"}}});
  REQUIRE_MESSAGE(faults.size() == 1, describe(faults, "x.json"));  // Not "missing command" too.
  CHECK(faults[0].pointer == "/supervisors/0/children/0/comand");
  CHECK(faults[0].message == R"(unknown key "comand"; did you mean "command"?)");
  CHECK(faults[0].nearest == "command");
}

TEST_CASE("a wrong word is answered with the right ones") {
  const auto faults = faults_of({{"id", "w"}, {"command", {"true"}}, {"restart", "always"}});
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].pointer == "/supervisors/0/children/0/restart");
  CHECK(faults[0].message ==
        R"(found "always"; expected one of "permanent", "transient", "temporary")");
}

TEST_CASE("a number without a unit is answered with how to write it") {
  SUBCASE("a duration as a number") {
    const auto faults = faults_of({{"id", "w"}, {"command", {"true"}}, {"start_timeout", 10}});
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].pointer == "/supervisors/0/children/0/start_timeout");
    CHECK(
        faults[0].message ==
        R"(found 10; expected a duration with its unit, such as "250ms", "10s" or "5m"; write "10s")");
  }
  SUBCASE("a duration as a string") {
    const auto faults = faults_of({{"id", "w"}, {"command", {"true"}}, {"shutdown", "10"}});
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].nearest == "10s");
  }
  SUBCASE("a size") {
    const auto faults = faults_of({{"id", "w"}, {"command", {"true"}}, {"output", {{"ring", 64}}}});
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].pointer == "/supervisors/0/children/0/output/ring");
    CHECK(faults[0].nearest == "64MiB");
  }
}

TEST_CASE("all faults come in one report, in the order of the file, with line and column") {
  const std::string text = R"({
  "host": { "log_levle": "info" },
  "supervisors": [
    { "id": "a", "strategy": "one_for_many",
      "children": [
        { "id": "x", "command": ["true"], "restart": "always" },
        { "id": "x", "command": ["no-such-program"] },
        { "id": "y", "command": ["true"], "depends_on": ["z"] },
        { "id": "zz", "command": ["true"], "id": "q" }
      ] }
  ]
})";
  const LoadOutcome outcome = parse_config(text, "x.json", plain_options());
  CHECK_FALSE(outcome.ok());
  INFO(describe(outcome.faults, "x.json"));
  std::vector<std::pair<unsigned, std::string>> places;
  for (const ConfigFault& fault : outcome.faults) places.emplace_back(fault.line, fault.pointer);
  CHECK(places == std::vector<std::pair<unsigned, std::string>>{
                      {2, "/host/log_levle"},
                      {4, "/supervisors/0/strategy"},
                      {6, "/supervisors/0/children/0/restart"},
                      {7, "/supervisors/0/children/1/id"},
                      {7, "/supervisors/0/children/1/command/0"},
                      {8, "/supervisors/0/children/2/depends_on/0"},
                      {9, "/supervisors/0/children/3/id"},
                  });
  CHECK(outcome.faults[0].column == 13);
  CHECK(outcome.faults[2].column == 43);
  CHECK(describe(outcome.faults, "x.json").substr(0, 17) == "x.json: 7 faults\n");
}

struct BrokenText {
  const char* text;
  unsigned line, column;
  const char* says;
};

TEST_CASE("text that is no JSON is told by line, column and what the parser expected") {
  const BrokenText table[] = {
      {"", 1, 1, "there is nothing in it"},
      {" \n\t", 1, 1, "there is nothing in it"},
      {"{", 1, 2, "unexpected end of input"},
      {"{\n  \"a\": 1,\n}", 3, 1, "remove the comma before this \"}\""},
      {"{\n  \"a\": [1, ]}", 2, 12, "remove the comma before this \"]\""},
      {"{\"a\" 1}", 1, 6, "expected ':'"},
      {"{'a': 1}", 1, 2, "invalid literal"},
      {"{\"a\": tru}", 1, 10, "invalid literal"},
      {"{} {}", 1, 4, "expected end of input"},
      {"{\"a\": \"\xff\"}", 1, 8, "ill-formed UTF-8"},
      {"{\"a\": 1e999}", 1, 11, "number overflow"},
      {"{ /* never closed ", 1, 19, "comment"},
  };
  for (const BrokenText& broken : table) {
    CAPTURE(broken.text);
    const LoadOutcome outcome = parse_config(broken.text, "x.json", plain_options());
    REQUIRE(outcome.faults.size() == 1);
    CHECK(outcome.faults[0].line == broken.line);
    CHECK(outcome.faults[0].column == broken.column);
    CHECK_MESSAGE(outcome.faults[0].message.find(broken.says) != std::string::npos,
                  outcome.faults[0].message);
    CHECK_NOTHROW(static_cast<void>(to_json(outcome.faults).dump()));
  }
}

TEST_CASE("comments are allowed") {
  CHECK(
      parse_config("// one\n/* two */ {\"supervisors\": [{\"id\": \"s\", \"children\": []}]} // 3",
                   "x.json", plain_options())
          .ok());
}

TEST_CASE("a document that is too deep is refused, not followed") {
  const std::string deep(100'000, '[');
  const LoadOutcome outcome = parse_config(deep, "x.json", plain_options());
  REQUIRE(outcome.faults.size() == 1);
  CHECK(outcome.faults[0].message == "nested too deep; expected at most 128 levels");
}

TEST_CASE("files that cannot be read say why") {
  const TemporaryDirectory directory;
  SUBCASE("missing") {
    const LoadOutcome outcome = load_config(directory.path() + "/none.json", plain_options());
    REQUIRE(outcome.faults.size() == 1);
    CHECK(outcome.faults[0].message ==
          "cannot read this file: No such file or directory; check the path, or see `unirun "
          "schema`");
  }
  SUBCASE("a directory") {
    const LoadOutcome outcome = load_config(directory.path(), plain_options());
    REQUIRE(outcome.faults.size() == 1);
    CHECK(outcome.faults[0].message == "this is a directory; expected a JSON file");
  }
  SUBCASE("empty") {
    directory.write("empty.json", "");
    const LoadOutcome outcome = load_config(directory.path() + "/empty.json", plain_options());
    REQUIRE(outcome.faults.size() == 1);
    CHECK(outcome.faults[0].expected == "an object with \"supervisors\"");
  }
}

struct WrongWorker {
  json worker;
  const char* pointer;
  const char* says;
};

TEST_CASE("what a shape cannot say is found too") {
  const WrongWorker table[] = {
      {{{"id", "w"}, {"command", {"no-such-program"}}}, "/command/0", "there is no program"},
      {{{"id", "w"}, {"command", {"./no/such"}}}, "/command/0", "is no program that this user"},
      {{{"id", "w"}, {"command", {"/etc/passwd"}}}, "/command/0", "is no program that this user"},
      {{{"id", "w"}, {"command", {""}}}, "", "an empty command"},
      {{{"id", "w"}, {"command", {"true"}}, {"python", "a:b"}},
       "",
       "found \"command\" and \"python\""},
      {{{"id", "w"}}, "", "missing \"command\", \"python\" or \"native\""},
      {{{"command", {"true"}}}, "", "missing \"id\": a name without \"/\""},
      {{{"id", "a/b"}, {"command", {"true"}}}, "/id", "expected a name without \"/\""},
      {{{"id", "w"}, {"command", "true"}}, "/command", "expected an array of strings"},
      {{{"id", "w"}, {"command", json::array()}}, "/command", "expected an array of strings"},
      {{{"id", "w"}, {"command", {"true"}}, {"executor", "thread"}},
       "/command",
       "a command needs a process of its own; give it the executor \"process\""},
      {{{"id", "w"}, {"command", {"true"}}, {"executor", "async_process"}},
       "/command",
       "a command belongs to the executor \"process\""},
      {{{"id", "w"}, {"command", {"true"}}, {"liveness", {{"kind", "loop_lag"}}}},
       "/liveness/kind",
       "\"loop_lag\" needs the executor \"async\""},
      {{{"id", "w"}, {"command", {"true"}}, {"executor", "proces"}},
       "/executor",
       "did you mean \"process\"?"},
      {{{"id", "w"}, {"native", "ecco"}}, "/native", "did you mean \"echo\"?"},
      {{{"id", "w"}, {"command", {"true"}}, {"cwd", "/no/such"}}, "/cwd", "No such file"},
      {{{"id", "w"}, {"command", {"true"}}, {"cwd", "/etc/passwd"}}, "/cwd", "not a directory"},
      {{{"id", "w"}, {"command", {"true"}}, {"user", "nobody-here"}}, "/user", "there is no user"},
      {{{"id", "w"}, {"command", {"true"}}, {"groups", {"root", "no-group"}}},
       "/groups/1",
       "there is no group"},
      {{{"id", "w"}, {"command", {"true"}}, {"stop_signal", "SIGTREM"}},
       "/stop_signal",
       "did you mean \"SIGTERM\"?"},
      {{{"id", "w"}, {"command", {"true"}}, {"start_timeout", "999999999999d"}},
       "/start_timeout",
       "is not a duration"},
      {{{"id", "w"}, {"command", {"true"}}, {"env", {{"A", {{"env", "NOT_SET"}}}}}},
       "/env/A/env",
       "the environment has no \"NOT_SET\""},
      {{{"id", "w"}, {"command", {"true"}}, {"env", {{"A", {{"file", "/no/such"}}}}}},
       "/env/A/file",
       "cannot read \"/no/such\""},
      {{{"id", "w"}, {"command", {"true"}}, {"env", {{"A", {{"vault", "x"}}}}}},
       "/env/A/vault",
       "unknown key \"vault\""},
      {{{"id", "w"}, {"command", {"true"}}, {"readiness", {{"kind", "log"}, {"pattern", "("}}}},
       "/readiness/pattern",
       "is not a regular expression"},
      {{{"id", "w"}, {"command", {"true"}}, {"readiness", {{"kind", "tcp"}}}},
       "/readiness",
       "missing \"port\": a port from 1 to 65535"},
      {{{"id", "w"}, {"command", {"true"}}, {"readiness", {{"kind", "notify"}, {"port", 1}}}},
       "/readiness/port",
       "unknown key \"port\""},
      {{{"id", "w"}, {"command", {"true"}}, {"readiness", {{"kind", "https"}}}},
       "/readiness/kind",
       "found \"https\"; expected one of \"none\", \"notify\""},
      {{{"id", "w"},
        {"command", {"true"}},
        {"readiness", {{"kind", "http"}, {"port", 1}, {"address", "https://example.org"}}}},
       "/readiness/address",
       "is a URL; give address, port and path, and for https use exec with curl"},
      {{{"id", "w"},
        {"command", {"true"}},
        {"liveness", {{"kind", "tcp"}, {"port", 1}, {"address", "example.org"}}}},
       "/liveness/address",
       "is no address in numbers, such as \"127.0.0.1\""},
      {{{"id", "w"},
        {"command", {"true"}},
        {"liveness", {{"kind", "http"}, {"port", 1}, {"status", "399-200"}}}},
       "/liveness/status",
       "the range \"399-200\" is empty"},
      {{{"id", "w"},
        {"command", {"true"}},
        {"liveness", {{"kind", "http"}, {"port", 1}, {"path", "health"}}}},
       "/liveness/path",
       "expected a path such as"},
      {{{"id", "w"}, {"python", "http.server:test"}, {"log_level", "trace"}},
       "/log_level",
       "expected one of \"debug\", \"info\""},
      {{{"id", "w"}, {"command", {"true"}}, {"rlimits", {{"nofiles", 5}}}},
       "/rlimits/nofiles",
       "did you mean \"nofile\"?"},
      {{{"id", "w"}, {"command", {"true"}}, {"rlimits", {{"as", {{"soft", 2}, {"hard", 1}}}}}},
       "/rlimits/as",
       "above the hard one"},
      {{{"id", "w"}, {"command", {"true"}}, {"instances", 0}}, "/instances", "found 0; expected"},
      {{{"id", "w"}, {"command", {"true"}}, {"significant", true}},
       "/significant",
       "a permanent child never ends"},
      {{{"id", "w"}, {"command", {"true"}}, {"backoff", {{"initial", "1m"}}}},
       "/backoff",
       "initial is above max"},
      {{{"id", "w"}, {"command", {"true"}}, {"depends_on", {"w"}}},
       "/depends_on/0",
       "depends on itself"},
      {{{"id", "w"}, {"command", {"true"}}, {"depends_on", {"sibbling"}}},
       "/depends_on/0",
       "did you mean \"sibling\"?"},
  };
  for (const WrongWorker& wrong : table) {
    CAPTURE(wrong.worker.dump());
    const auto faults = faults_of(wrong.worker, {{"id", "sibling"}, {"command", {"true"}}});
    const std::string pointer = std::string("/supervisors/0/children/0") + wrong.pointer;
    const bool is_told = std::any_of(faults.begin(), faults.end(), [&](const ConfigFault& fault) {
      return fault.pointer == pointer && fault.message.find(wrong.says) != std::string::npos;
    });
    CHECK_MESSAGE(is_told, describe(faults, "x.json"));
  }
}

TEST_CASE("ids that meet only after expansion are found") {
  const auto faults = faults_of({{"id", "w"}, {"command", {"true"}}, {"instances", 3}},
                                {{"id", "w-2"}, {"command", {"true"}}});
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].pointer == "/supervisors/0/children/1/id");
  CHECK(faults[0].message.find("duplicate id \"w-2\"") != std::string::npos);
}

TEST_CASE("a fault of a service with instances is told once") {
  const auto faults = faults_of(
      {{"id", "w"}, {"command", {"true"}}, {"instances", 100}, {"depends_on", {"nobody"}}});
  CHECK(faults.size() == 1);
}

TEST_CASE("a cycle is named") {
  const auto faults =
      faults_of({{"id", "a"}, {"command", {"true"}}, {"depends_on", {"b"}}},
                {{"id", "b"}, {"command", {"true"}}, {"depends_on", {{{"id", "a"}}}}});
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].pointer == "/supervisors/0/children");
  CHECK(faults[0].message.find("a -> b -> a") != std::string::npos);
}

TEST_CASE("faults of flags point at the flags") {
  const LoadOutcome outcome =
      config_from_json(json::parse(R"({"host": {"root": {"restart_intensity": {"period": "0s"}}},
                      "supervisors": [{"id": "s", "strategy": "simple_one_for_one",
                        "restart_intensity": {"period": "0s"}, "children": []}]})"),
                       plain_options());
  std::vector<std::string> pointers;
  for (const ConfigFault& fault : outcome.faults) pointers.push_back(fault.pointer);
  CHECK(pointers == std::vector<std::string>{"/host/root/restart_intensity/period",
                                             "/supervisors/0/restart_intensity/period",
                                             "/supervisors/0/children"});
}

TEST_CASE("a wrong word makes no second fault of those it is judged with") {
  const auto faults = faults_of(
      {{"id", "w"}, {"command", {"true"}}, {"restart", "allways"}, {"significant", true}});
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].pointer == "/supervisors/0/children/0/restart");
}

TEST_CASE("a socket path that the system could not bind is refused at once") {
  const LoadOutcome outcome =
      config_from_json({{"host", {{"runtime_dir", "/" + std::string(120, 'x')}}},
                        {"supervisors", {{{"id", "s"}, {"children", json::array()}}}}},
                       plain_options());
  REQUIRE(outcome.faults.size() == 1);
  CHECK(outcome.faults[0].message.find("the system allows 107") != std::string::npos);
}

TEST_CASE("a child for a running supervisor is judged by the same schema") {
  HostConfig host = default_config("h");
  const json good = {{"id", "w"}, {"command", {"true"}}, {"instances", 2}};
  const ChildOutcome outcome = child_from_json(good, "a/b", host, plain_options());
  REQUIRE_MESSAGE(outcome.ok(), describe(outcome.faults, "child"));
  CHECK(outcome.children.size() == 2);
  CHECK(outcome.groups.at(0).supervisor == "a/b");

  const ChildOutcome bad =
      child_from_json({{"id", "w"}, {"comand", {"true"}}}, "a", host, plain_options());
  REQUIRE(bad.faults.size() == 1);
  CHECK(bad.faults[0].pointer == "/comand");
  CHECK_FALSE(child_from_json(json(7), "a", host, plain_options()).ok());

  const ChildOutcome misplaced = child_from_json(
      {{"id", "w"}, {"command", {"true"}}, {"executor", "thread"}}, "a", host, plain_options());
  REQUIRE(misplaced.faults.size() == 1);
  CHECK(misplaced.faults[0].pointer == "/command");
}

TEST_CASE("Python targets are imported, and a fault carries what the import said") {
  const TemporaryDirectory directory;
  directory.write("good.py", "def main(): pass\nnumber = 3\n");
  directory.write("dying.py", "import os\nos.abort()\n");
  directory.write("leaving.py", "import sys\nsys.exit(3)\n");
  directory.write("noisy.py", "print('x' * 100000)\ndef main(): pass\n");
  LoadOptions options = plain_options();
  options.check_python = true;
  options.directory = directory.path();
  const auto python = [](const char* target) { return json{{"id", target}, {"python", target}}; };
  json document = {
      {"host", {{"python", "python3"}, {"python_path", {in_source_tree("python_bindings"), "."}}}},
      {"supervisors", {{{"id", "s"}, {"children", json::array()}}}}};
  json& children = document["supervisors"][0]["children"];

  SUBCASE("all is well") {
    children = {python("good:main"),
                python("noisy:main"),
                python("os.path:join"),
                {{"id", "file"}, {"python", "good.py:main"}}};
    const LoadOutcome outcome = config_from_json(document, options);
    CHECK_MESSAGE(outcome.ok(), describe(outcome.faults, "python"));
  }
  SUBCASE("the interpreter has no unirun") {
    document["host"]["python_path"] = {"."};
    options.environment = [](const std::string& name) -> std::optional<std::string> {
      return name == "PATH" ? std::optional<std::string>("/usr/bin:/bin") : std::nullopt;
    };
    document["host"]["python"] = "/usr/bin/python3";
    children = {python("good:main")};
    if (find_program("/usr/bin/python3", "", "").empty()) {
      MESSAGE("skipped: no /usr/bin/python3, the interpreter that has nothing installed");
      return;
    }
    const LoadOutcome outcome = config_from_json(document, options);
    REQUIRE(outcome.faults.size() == 1);
    CHECK_MESSAGE(outcome.faults[0].message.find("it has no package unirun") != std::string::npos,
                  outcome.faults[0].message);
  }
  SUBCASE("none is") {
    children = {python("nowhere:main"), python("good:missing"), python("good:number"),
                python("dying:main"), python("leaving:main")};
    const LoadOutcome outcome = config_from_json(document, options);
    const char* says[] = {"No module named 'nowhere'", "has no attribute 'missing'",
                          "it is of type int", "ended by SIGABRT", "SystemExit: 3"};
    REQUIRE_MESSAGE(outcome.faults.size() == 5, describe(outcome.faults, "python"));
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK_MESSAGE(outcome.faults[i].message.find(says[i]) != std::string::npos,
                    outcome.faults[i].message);
      CHECK(outcome.faults[i].pointer ==
            "/supervisors/0/children/" + std::to_string(i) + "/python");
    }
  }
}

}  // namespace
}  // namespace unirun
