// The control channel, from the side of the host: a Python target whose interpreter is the helper.

#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "executors/process/frames.h"
#include "process_fixture.h"

using namespace unirun;
using namespace unirun::test;

namespace {

ServiceSpec worker(const std::string& script) {
  ServiceSpec spec;
  spec.target = PythonTarget{"ingest:Reader", helper()};
  spec.start = StartMode::fresh;  // No template can be made of the helper.
  spec.config = {{"batch", 100}};
  spec.arguments = {7, "seven"};
  spec.env["HELPER_SCRIPT"] = script;
  spec.readiness = NotifyReadiness{};
  spec.rlimits["core"] = {0, 0};
  return spec;
}

template <class Payload>
std::vector<Payload> published(const World& world) {
  std::vector<Payload> found;
  for (const Event& event : world.events) {
    if (const auto* payload = std::get_if<Payload>(&event.payload)) found.push_back(*payload);
  }
  return found;
}

// Notes what it is told, as a text a time.
struct NotedMetrics final : ServiceMetrics {
  void count(std::string_view path, std::string_view name, double by) override {
    noted.push_back(fmt::format("{}: {} +{}", path, name, by));
  }
  void gauge(std::string_view path, RunId /*run*/, std::string_view name, double value) override {
    noted.push_back(fmt::format("{}: {} ={}", path, name, value));
  }
  std::vector<std::string> noted;
};

}  // namespace

TEST_CASE("a worker is told what to run, is ready when it says so, and hears of its stop") {
  ProcessExecutorOptions options;
  options.control_socket = "/run/test.sock";
  World world(options);
  ServiceSpec spec = worker("until-cancelled");
  spec.log_level = "warning";
  spec.liveness = HeartbeatLiveness{30s};
  world.instance = 2;
  world.launch(spec);
  REQUIRE(world.wait_until([&] { return !world.ready.empty(); }));
  world.executor->request_stop(world.last);
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last].kind == ExitKind::shutdown);
  CHECK(world.exits[world.last].exit_code == 0);

  const auto lines = world.lines();
  REQUIRE(lines.size() == 2);
  const auto start = nlohmann::json::parse(lines[0].substr(lines[0].find('{')));
  CHECK(start == nlohmann::json{{"type", "start"},
                                {"target", "ingest:Reader"},
                                {"path", "tree/service"},
                                {"id", "service"},
                                {"instance", 2},
                                {"config", {{"batch", 100}}},
                                {"arguments", {7, "seven"}},
                                {"heartbeat", 30.0},
                                {"log_level", "warning"},
                                {"control_socket", "/run/test.sock"}});
  CHECK(lines[1] == R"(then {"type":"cancel"})");
}

TEST_CASE("an exception reaches the exit reason, and log, status and metrics go their ways") {
  NotedMetrics metrics;
  ProcessExecutorOptions options;
  options.metrics = &metrics;
  World world(options);
  const ExitReason reason = world.end_of(worker("exception"));
  CHECK(reason.kind == ExitKind::exception);
  REQUIRE(reason.exception.has_value());
  CHECK(reason.exception->type == "ValueError");
  CHECK(reason.exception->message == "no such job");
  CHECK(reason.exception->traceback == "Traceback ...");
  CHECK(reason.exit_code == 1);
  CHECK(world.ready.size() == 1);

  const auto logs = published<ServiceLog>(world);
  REQUIRE(logs.size() == 1);
  CHECK(logs[0].level == "ERROR");
  CHECK(logs[0].logger == "app");
  CHECK(logs[0].message == "oh");
  CHECK(logs[0].file == "a.py");
  CHECK(logs[0].line == 7);
  CHECK(logs[0].extra == std::map<std::string, std::string>{{"job", "7"}});
  CHECK(metrics.noted ==
        std::vector<std::string>{"tree/service: done +2.5", "tree/service: depth =7"});
  const auto lines = world.output.tail("tree/service", 10);
  const auto told = std::find_if(lines.begin(), lines.end(), [](const OutputLine& line) {
    return line.stream == OutputStream::log;
  });
  REQUIRE(told != lines.end());
  CHECK(told->text == "ERROR app: oh");
  const auto texts = published<ServiceStatusText>(world);
  REQUIRE(texts.size() == 1);
  CHECK(texts[0].text == "half way");
}

TEST_CASE("item 6: a worker that declines to run is ignored, not ended") {
  World world;
  world.launch(worker("ignore"));
  REQUIRE(world.wait_until([&] { return !world.ignored.empty(); }));
  CHECK(world.ignored == std::vector<RunId>{world.last});
  CHECK(world.exits.empty());
  CHECK(world.ready.empty());
  CHECK(world.executor->running() == 0);
}

TEST_CASE("garbage closes the channel with a warning, and harms nobody") {
  World world;
  world.launch(worker("garbage"));
  REQUIRE(world.wait_until([&] { return world.count(EventKind::warning) > 0; }));
  CHECK(published<Warning>(world)[0].what.find("control channel: a frame of") == 0);
  CHECK(world.exits.empty());
  world.executor->request_stop(world.last);  // By its signal alone, now.
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last].kind == ExitKind::shutdown);
}

TEST_CASE("messages with members of the wrong type are survived, and new types passed over") {
  World world;
  world.launch(worker("wrong-types"));
  REQUIRE(world.wait_until([&] { return !world.ready.empty(); }));
  CHECK(world.count(EventKind::warning) == 0);
  world.executor->kill(world.last);
  REQUIRE(world.wait_for_end());
}

TEST_CASE("a silent worker ends by SIGABRT, and its stacks are told") {
  World world;
  ServiceSpec spec = worker("silent");
  spec.liveness = HeartbeatLiveness{50ms};
  const ExitReason reason = world.end_of(spec);
  CHECK(reason.kind == ExitKind::liveness_timeout);
  CHECK(reason.signal == SIGABRT);
  CHECK(reason.stacks == "Fatal Python error: Aborted\nThread 0x1\n");
}

TEST_CASE("frames are read however they are cut, and refused where they are none") {
  const nlohmann::json first = {{"type", "log"}, {"message", "one"}};
  const nlohmann::json second = {{"type", "ready"}};
  const std::string bytes = *encode_frame(first) + *encode_frame(second);
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    CAPTURE(cut);
    FrameReader reader;
    std::vector<nlohmann::json> read;
    for (const std::string& part : {bytes.substr(0, cut), bytes.substr(cut)}) {
      reader.feed(part);
      nlohmann::json message;
      while (*reader.next(message)) read.push_back(message);
    }
    CHECK(read == std::vector<nlohmann::json>{first, second});
  }
  nlohmann::json message;
  for (const std::string& garbage : {std::string("\1\0\0\1", 4), std::string("\2\0\0\0{]", 6),
                                     std::string("\1\0\0\0"
                                                 "7",
                                                 5),
                                     std::string("\0\0\0\0", 4)}) {
    FrameReader reader;
    reader.feed(garbage);
    CHECK_FALSE(reader.next(message).ok());
  }
  CHECK_FALSE(encode_frame({{"text", std::string(max_frame, 'x')}}).ok());
  CHECK(encode_frame({{"text", "\xff\xfe"}}).ok());  // Not UTF-8: replaced.
}
