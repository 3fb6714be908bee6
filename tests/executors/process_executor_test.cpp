#include "executors/process/process_executor.h"

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "executors/process/exit_mapping.h"
#include "process_fixture.h"

using namespace unirun;
using namespace unirun::test;

TEST_CASE("OS mapping: every way to end has its reason") {
  World world;
  SUBCASE("exit code 0 is normal") {
    const ExitReason reason = world.end_of({helper(), "exit", "0"});
    CHECK(reason.kind == ExitKind::normal);
    CHECK(reason.exit_code == 0);
  }
  SUBCASE("another exit code is abnormal") {
    const ExitReason reason = world.end_of({helper(), "exit", "3"});
    CHECK(reason.kind == ExitKind::exit_code);
    CHECK(reason.exit_code == 3);
    CHECK_FALSE(reason.permanent_failure);
  }
  SUBCASE("a success exit code is normal") {
    ServiceSpec spec = command({helper(), "exit", "3"});
    spec.success_exit_codes = {3};
    CHECK(world.end_of(spec).kind == ExitKind::normal);
  }
  SUBCASE("a no-restart exit code is failed for good") {
    const ExitReason reason = world.end_of({helper(), "exit", "78"});
    CHECK(reason.kind == ExitKind::exit_code);
    CHECK(reason.permanent_failure);
  }
  SUBCASE("a signal that nobody here sent is abnormal") {
    ServiceSpec spec = command({helper(), "signal", "11"});
    spec.rlimits["core"] = {0, 0};
    const ExitReason reason = world.end_of(spec);
    CHECK(reason.kind == ExitKind::signal);
    CHECK(reason.signal == SIGSEGV);
    CHECK_FALSE(reason.core_dumped);
  }
  SUBCASE("SIGKILL from outside is a signal, not our kill") {
    const LaunchOutcome outcome = world.launch({helper(), "wait"});
    ::kill(static_cast<pid_t>(outcome.pid), SIGKILL);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].kind == ExitKind::signal);
    CHECK(world.exits[world.last].signal == SIGKILL);
  }
  SUBCASE("our stop signal answered is shutdown") {
    const LaunchOutcome outcome = world.launch({helper(), "wait"});
    CHECK(outcome.state == LaunchOutcome::State::running);
    world.executor->request_stop(world.last);
    world.executor->request_stop(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].kind == ExitKind::shutdown);
    CHECK(world.exits[world.last].signal == SIGTERM);
  }
  SUBCASE("item 36: a kill after a stop that was not answered is killed") {
    world.launch({helper(), "ignore", "15"});
    REQUIRE(world.wait_until([&] { return !world.lines().empty(); }));
    world.executor->request_stop(world.last);
    world.executor->kill(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].kind == ExitKind::killed);
    CHECK(world.exits[world.last].detail == "did not end within its shutdown timeout");
  }
  SUBCASE("item 36: a kill without a stop is killed too") {
    world.launch({helper(), "wait"});
    world.executor->kill(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].kind == ExitKind::killed);
    CHECK(world.exits[world.last].detail == "was to be killed at once");
  }
  SUBCASE("a process that stands still answers its stop") {
    const LaunchOutcome outcome = world.launch({helper(), "wait"});
    ::kill(static_cast<pid_t>(outcome.pid), SIGSTOP);
    world.executor->request_stop(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].kind == ExitKind::shutdown);
  }
  SUBCASE("the stop signal is the spec's") {
    ServiceSpec spec = command({helper(), "ignore", "15"});
    spec.stop_signal = SIGINT;
    world.launch(spec);
    REQUIRE(world.wait_until([&] { return !world.lines().empty(); }));
    world.executor->request_stop(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].signal == SIGINT);
  }
  CHECK(world.executor->running() == 0);
}

TEST_CASE("OS mapping: killed by the kernel for memory is memory_limit, unless we killed it") {
  const ServiceSpec spec;
  ProcessEnd end;
  end.by_signal = true;
  end.status = SIGKILL;
  end.out_of_memory = true;
  end.peak_rss = 1 << 30;
  EndCause cause;
  CHECK(exit_reason(spec, end, cause).kind == ExitKind::memory_limit);
  CHECK(exit_reason(spec, end, cause).peak_rss == 1 << 30);
  cause.kill_requested = true;
  CHECK(exit_reason(spec, end, cause).kind == ExitKind::killed);
  end.out_of_memory = false;
  cause.kill_requested = false;
  CHECK(exit_reason(spec, end, cause).kind == ExitKind::signal);
}

TEST_CASE("what a process has needed at most is told, where it is more than the host's own") {
  World world;
  constexpr std::uint64_t needed = 300'000'000;
  const ExitReason large = world.end_of({helper(), "fill", std::to_string(needed)});
  REQUIRE(large.peak_rss.has_value());
  CHECK(*large.peak_rss >= needed);
  CHECK(*large.peak_rss < 2 * needed);
  // A spawned process inherits the peak of the memory that it leaves: that of this test.
  CHECK_FALSE(world.end_of({helper(), "exit", "0"}).peak_rss.has_value());
}

TEST_CASE("too few descriptors are a failed start that says what to raise") {
  World world;
  // UBSan asks by a pipe whether it may look at an object, of each type but once.
  CHECK_FALSE(Status(Error{}).ok());
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit low = before;
  low.rlim_cur = open_descriptors();
  ::setrlimit(RLIMIT_NOFILE, &low);
  const LaunchOutcome outcome = world.launch({helper(), "wait"});
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK(outcome.state == LaunchOutcome::State::failed);
  CHECK(outcome.reason.detail.find("Too many open files; the host may have ") != std::string::npos);
  CHECK(outcome.reason.detail.find("ulimit -Hn") != std::string::npos);
  CHECK(world.end_of({helper(), "exit", "0"}).kind == ExitKind::normal);
}

TEST_CASE("an unknown run is ignored by stop and kill") {
  World world;
  world.executor->request_stop(RunId{99});
  world.executor->kill(RunId{99});
  CHECK(world.executor->running() == 0);
}

TEST_CASE("death is seen although a grandchild holds stdout, and the last words are kept") {
  World world;
  const TemporaryFolder folder;
  const ExitReason reason = world.end_of({helper(), "descend", "e", folder.file("pids"), "exit"});
  CHECK(reason.exit_code == 3);
  CHECK(world.lines() == std::vector<std::string>{"descended"});
}

TEST_CASE("the end of an executor is the end of its runs") {
  std::string mark;
  {
    World world;
    mark = world.executor->host_mark();
    for (int i = 0; i < 5; ++i) world.launch({helper(), "ignore", "15"});
    CHECK(world.executor->running() == 5);
    // Not at once: in the midst of its exec a process has no environment to read.
    CHECK(world.wait_until([&] { return living_with_mark(mark).size() == 5; }));
  }
  CHECK(living_with_mark(mark).empty());
}

TEST_CASE("a replacement launched from within the news of a death runs like any other") {
  World world;
  struct Again final : RunObserver {
    explicit Again(World& a_world) : world(a_world) {}
    void on_ready(RunId) override {}
    void on_exited(RunId, ExitReason reason) override {
      CHECK(reason.exit_code == 1);
      if (++ends < 50) start();
      world.loop.stop();
    }
    void start() {
      Launch launch;
      launch.run = RunId{1000 - static_cast<std::uint64_t>(ends)};  // They need not grow.
      launch.path = launch.id = "again";
      launch.service = std::make_shared<const ServiceSpec>(command({helper(), "exit", "1"}));
      CHECK(world.executor->launch(launch, *this).state != LaunchOutcome::State::failed);
    }
    World& world;
    int ends = 0;
  };
  Again again(world);
  again.start();
  REQUIRE(world.wait_until([&] { return again.ends == 50; }));
  CHECK(world.executor->running() == 0);
}

TEST_CASE("a thousand quick lives leave no descriptor behind") {
  World world;
  CHECK(world.end_of({"true"}).kind == ExitKind::normal);
  world.drain();
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 1000; ++i) REQUIRE(world.end_of({"true"}).kind == ExitKind::normal);
  world.drain();
  CHECK(open_descriptors() == before);
  CHECK(world.executor->running() == 0);
}
