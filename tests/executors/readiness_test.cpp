#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <regex>

#include "executors/heartbeat_watch.h"
#include "executors/process/notify_socket.h"
#include "executors/process/unique_fd.h"
#include "process_fixture.h"

using namespace unirun;
using namespace unirun::test;

namespace {

// A port that was free a moment ago.
std::uint16_t free_port() {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  socklen_t length = sizeof address;
  REQUIRE(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return ntohs(address.sin_port);
}

void becomes_ready(World& world, ServiceSpec spec) {
  const LaunchOutcome outcome = world.launch(std::move(spec));
  INFO(outcome.reason.detail);
  CHECK(outcome.state == LaunchOutcome::State::starting);
  CHECK(outcome.pid > 0);
  CHECK(world.ready.empty());
  REQUIRE(world.wait_until([&] { return !world.ready.empty(); }));
  CHECK(world.ready == std::vector<RunId>{world.last});
  world.executor->kill(world.last);
  REQUIRE(world.wait_for_end());
  CHECK(world.ready.size() == 1);
}

ExitReason goes_silent(World& world, ServiceSpec spec) {
  world.launch(std::move(spec));
  REQUIRE(world.wait_for_end());
  CHECK(world.count(EventKind::service_unresponsive) == 1);
  const ExitReason& reason = world.exits[world.last];
  CHECK(reason.kind == ExitKind::liveness_timeout);
  CHECK_FALSE(reason.is_clean());
  return reason;
}

}  // namespace

TEST_CASE("a service is ready when it says so, in each way there is to say it") {
  World world;
  ServiceSpec spec = command({helper(), "wait"});
  SUBCASE("none: running is ready") {
    CHECK(world.launch(spec).state == LaunchOutcome::State::running);
    world.executor->kill(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.ready.empty());
    return;
  }
  SUBCASE("notify") {
    spec = command({helper(), "notify", "STATUS=loading", "READY=1\nSTATUS=serving"});
    spec.readiness = NotifyReadiness{};
    becomes_ready(world, spec);
    CHECK(world.count(EventKind::service_status_text) == 2);
  }
  SUBCASE("fd, the usual one") {
    spec = command({helper(), "newline-on", "3"});
    spec.readiness = DescriptorReadiness{3};
    becomes_ready(world, spec);
  }
  SUBCASE("fd, another one") {
    spec = command({helper(), "newline-on", "9"});
    spec.readiness = DescriptorReadiness{9};
    becomes_ready(world, spec);
  }
  SUBCASE("tcp") {
    const std::uint16_t port = free_port();
    spec = command({helper(), "listen", std::to_string(port)});
    spec.readiness = TcpReadiness{"localhost", port, 5ms};
    becomes_ready(world, spec);
  }
  SUBCASE("exec, at the second try") {
    const TemporaryFolder folder;
    spec.readiness = ExecReadiness{
        {"/bin/sh", "-c",
         "test -e " + folder.file("x") + " || { touch " + folder.file("x") + "; exit 1; }"},
        5ms,
        5s};
    becomes_ready(world, spec);
  }
  SUBCASE("exec, after one that hangs and one that is not there") {
    const TemporaryFolder folder;
    spec.readiness = ExecReadiness{
        {"/bin/sh", "-c",
         "test -e " + folder.file("x") + " || { touch " + folder.file("x") + "; sleep 60; }"},
        5ms,
        100ms};
    becomes_ready(world, spec);
  }
  SUBCASE("log, on stdout") {
    spec = command(
        {"/bin/sh", "-c", "echo starting; echo 'port 80: ready'; exec " + helper() + " wait"});
    spec.readiness = LogReadiness{"port [0-9]+: ready$"};
    becomes_ready(world, spec);
  }
  SUBCASE("log, on stderr") {
    spec = command({"/bin/sh", "-c", "echo ready >&2; exec " + helper() + " wait"});
    spec.readiness = LogReadiness{"ready"};
    becomes_ready(world, spec);
  }
  world.drain();
  CHECK(living_with_mark(world.executor->host_mark()).empty());
}

TEST_CASE("who dies before it is ready was never ready") {
  World world;
  ServiceSpec spec = command({helper(), "exit", "0"});
  SUBCASE("notify") { spec.readiness = NotifyReadiness{}; }
  SUBCASE("fd") { spec.readiness = DescriptorReadiness{}; }
  SUBCASE("tcp") { spec.readiness = TcpReadiness{"127.0.0.1", free_port(), 1ms}; }
  SUBCASE("exec") { spec.readiness = ExecReadiness{{"false"}, 1ms, 1s}; }
  SUBCASE("log") { spec.readiness = LogReadiness{"never"}; }
  CHECK(world.launch(spec).state == LaunchOutcome::State::starting);
  REQUIRE(world.wait_for_end());
  CHECK(world.ready.empty());
}

TEST_CASE("what a stranger sends to a notify socket is not heard") {
  World world;
  std::vector<Notification> heard;
  auto socket = NotifySocket::open(
      world.loop, 42, [&](const Notification& notification) { heard.push_back(notification); });
  REQUIRE(socket.ok());
  (*socket)->accept_from(1, ::geteuid(), "1");  // Init's group: not that of the sender below.
  ServiceSpec spec = command({helper(), "notify", "READY=1"});
  spec.env["NOTIFY_SOCKET"] = (*socket)->name();
  world.launch(spec);
  const RunId stranger = world.last;
  // One that the socket does listen to, sent after the other.
  bool marked = false;
  REQUIRE(world.wait_until([&] {
    if (!marked && world.ready.empty()) marked = true;
    (*socket)->read();
    return marked;
  }));
  world.executor->request_stop(stranger);
  REQUIRE(world.wait_for_end());
  (*socket)->read();
  // It may end before it is looked at; then its user and its knowledge of the name speak for it.
  CHECK(heard.size() <= 1);
}

TEST_CASE("notifications are read as sd_notify(3) writes them") {
  const Notification all = parse_notification("READY=1\nSTATUS=a=b\nMAINPID=7\nWATCHDOG=1");
  CHECK(all.ready);
  CHECK(all.watchdog);
  CHECK(all.has_status);
  CHECK(all.status == "a=b");
  CHECK_FALSE(all.stopping);
  CHECK_FALSE(parse_notification("READY=0").ready);
  CHECK_FALSE(parse_notification("").ready);
  CHECK(parse_notification("STOPPING=1\n").stopping);
  CHECK(parse_notification("WATCHDOG=trigger").watchdog_trigger);
}

TEST_CASE("a service that goes silent gets SIGABRT first") {
  World world;
  SUBCASE("no heartbeat") {
    ServiceSpec spec = command({helper(), "wait"});
    spec.rlimits["core"] = {0, 0};
    spec.liveness = HeartbeatLiveness{50ms};
    const ExitReason reason = goes_silent(world, spec);
    CHECK(reason.signal == SIGABRT);
    CHECK(reason.detail == "no heartbeat for 50ms");
  }
  SUBCASE("a watchdog that asks for its own end") {
    ServiceSpec spec = command({helper(), "notify", "READY=1", "WATCHDOG=1", "WATCHDOG=trigger"});
    spec.rlimits["core"] = {0, 0};
    spec.readiness = NotifyReadiness{};
    spec.liveness = HeartbeatLiveness{60s};
    CHECK(goes_silent(world, spec).detail == "it said WATCHDOG=trigger");
  }
  SUBCASE("a port that nobody serves") {
    ServiceSpec spec = command({helper(), "wait"});
    spec.rlimits["core"] = {0, 0};
    spec.liveness = TcpLiveness{"127.0.0.1", free_port(), 5ms, 1s, 3};
    CHECK(goes_silent(world, spec).detail.find("Connection refused") != std::string::npos);
  }
  SUBCASE("a command that says no") {
    ServiceSpec spec = command({helper(), "wait"});
    spec.rlimits["core"] = {0, 0};
    spec.liveness = ExecLiveness{{"false"}, 5ms, 1s, 2};
    CHECK(goes_silent(world, spec).detail == "exec 'false': exit code 1");
  }
  SUBCASE("a command that is not there") {
    ServiceSpec spec = command({helper(), "wait"});
    spec.rlimits["core"] = {0, 0};
    spec.liveness = ExecLiveness{{"/no/such/probe"}, 5ms, 1s, 2};
    CHECK(goes_silent(world, spec).detail.find("exec '/no/such/probe'") == 0);
  }
}

TEST_CASE("who ignores SIGABRT is killed two seconds later") {
  World world;
  ServiceSpec spec = command({helper(), "ignore", "6"});
  spec.readiness = LogReadiness{"ignoring"};
  spec.liveness = HeartbeatLiveness{20ms};
  const Instant begin = world.clock.now();
  const ExitReason reason = goes_silent(world, spec);
  CHECK(reason.signal == SIGKILL);
  CHECK(world.clock.now() - begin >= 2s);
}

TEST_CASE("probes that say yes leave a service in peace") {
  World world;
  const std::uint16_t port = free_port();
  ServiceSpec spec = command({helper(), "listen", std::to_string(port)});
  spec.readiness = TcpReadiness{"127.0.0.1", port, 1ms};
  const TemporaryFolder folder;
  SUBCASE("tcp") { spec.liveness = TcpLiveness{"127.0.0.1", port, 1ms, 1s, 1}; }
  SUBCASE("exec") {
    spec.liveness =
        ExecLiveness{{"/bin/sh", "-c", "echo x >> " + folder.file("asked")}, 1ms, 5s, 1};
    world.launch(spec);
    CHECK(world.wait_until([&] { return content_of(folder.file("asked")).size() > 40; }));
    world.executor->request_stop(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].kind == ExitKind::shutdown);
    return;
  }
  world.launch(spec);
  REQUIRE(world.wait_until([&] { return !world.ready.empty(); }));
  CHECK_FALSE(world.wait_until([&] { return !world.exits.empty(); }, 200ms));
  world.executor->request_stop(world.last);
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last].kind == ExitKind::shutdown);
}

TEST_CASE("a host that stood still does not take it out on its services") {
  SystemClock clock;
  EventLoop loop(clock);
  int silences = 0;
  int looks = 0;
  const HeartbeatWatch watch(
      loop, 10ms, [&] { ++looks; },
      [&](Duration) {
        ++silences;
        loop.stop();
      });
  // The whole process stands still for three timeouts; nobody could have heard a heartbeat.
  for (const Instant end = clock.now() + 30ms; clock.now() < end;) {
  }
  loop.run_ready();
  CHECK(looks == 1);
  CHECK(silences == 0);
  loop.run();  // From here on it is the service that is silent.
  CHECK(silences == 1);
}
