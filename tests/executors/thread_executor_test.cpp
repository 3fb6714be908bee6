// The thread executor against real threads.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <new>
#include <stdexcept>
#include <thread>

#include "canned_server.h"
#include "tests/threads_of_process.h"
#include "thread_world.h"

using namespace unirun;
using namespace unirun::test;

namespace {

ServiceSpec with_readiness(Readiness readiness) {
  ServiceSpec spec;
  spec.readiness = std::move(readiness);
  return spec;
}

ThreadExecutorOptions grace(Duration duration) {
  ThreadExecutorOptions options;
  options.grace = duration;
  return options;
}

struct OddError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A thread that nothing ends, until the test lets it go: nothing of it is on the test's stack.
struct Stubborn {
  std::shared_ptr<Signal> released = std::make_shared<Signal>();
  std::shared_ptr<Signal> runs = std::make_shared<Signal>();

  [[nodiscard]] Behaviour behaviour() const {
    return {.run =
                [released = released, runs = runs](ServiceContext& context) {
                  runs->set();
                  released->wait(10min);
                  context.log({{}, "INFO", "late", "still here", "", 0});
                  context.count("late", 1);
                },
            .stack = [] { return std::string("in released->wait()"); }};
  }
  ~Stubborn() { released->set(); }
};

[[nodiscard]] bool nobody_is_abandoned() {
  const SystemClock clock;
  const Instant deadline = clock.now() + 20s;
  while (ThreadExecutor::abandoned() > 0 && clock.now() < deadline) {
    static_cast<void>(CancellationToken().wait(1ms));
  }
  return ThreadExecutor::abandoned() == 0;
}

}  // namespace

TEST_CASE("a service runs on a thread of its own that is named after it and takes no signal") {
  ThreadWorld world;
  std::string name(16, '\0');
  std::thread::id thread;
  bool blocked = false;
  bool takes_faults = false;
  const LaunchOutcome outcome = world.launch(
      {.run =
           [&](ServiceContext& context) {
             thread = std::this_thread::get_id();
             pthread_getname_np(pthread_self(), name.data(), name.size());
             sigset_t mask;
             pthread_sigmask(SIG_BLOCK, nullptr, &mask);
             blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
             takes_faults = sigismember(&mask, SIGSEGV) == 0;
             CHECK(context.id() == "a-service-with-a-long-name");
             CHECK(context.path() == "tree/a-service-with-a-long-name");
           }},
      {}, "a-service-with-a-long-name");
  CHECK(outcome.state == LaunchOutcome::State::running);
  CHECK(outcome.pid == 0);
  CHECK(world.executor->running() == 1);
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last] == ExitReason::normal());
  CHECK(world.executor->running() == 0);
  CHECK(thread != std::this_thread::get_id());
  CHECK(std::string(name.c_str()) == "a-service-with-");
  CHECK(blocked);
  CHECK(takes_faults);
}

TEST_CASE("a stop is asked for by cancellation and answered as shutdown") {
  ThreadWorld world;
  SUBCASE("by returning") { world.launch(patient()); }
  SUBCASE("by throwing Cancelled") {
    world.launch({.run = [](ServiceContext& context) {
      while (!context.cancellation().wait(1h)) {
      }
      context.cancellation().raise_if_cancelled();
    }});
  }
  world.executor->request_stop(world.last);
  world.executor->request_stop(world.last);
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last].kind == ExitKind::shutdown);
}

TEST_CASE("what escapes from a service is its crash, told by type and text") {
  ThreadWorld world;
  SUBCASE("a standard exception") {
    const auto reason = world.end_of({.run = [](ServiceContext&) { throw OddError("no luck"); }});
    CHECK(reason.kind == ExitKind::exception);
    REQUIRE(reason.exception.has_value());
    CHECK(reason.exception->type == "(anonymous namespace)::OddError");
    CHECK(reason.exception->message == "no luck");
  }
  SUBCASE("something that is no exception") {
    const auto reason = world.end_of({.run = [](ServiceContext&) { throw 7; }});
    CHECK(reason.kind == ExitKind::exception);
    CHECK(reason.exception->type == "int");
  }
  SUBCASE("a cancellation that nobody asked for") {
    const auto reason = world.end_of({.run = [](ServiceContext&) { throw Cancelled(); }});
    CHECK(reason.kind == ExitKind::exception);
    CHECK(reason.exception->type == "unirun::Cancelled");
  }
  SUBCASE("after a stop was asked for") {
    world.launch({.run = [](ServiceContext& context) {
      while (!context.cancellation().wait(1h)) {
      }
      throw OddError("while cleaning up");
    }});
    world.executor->request_stop(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].kind == ExitKind::exception);
  }
  SUBCASE("the end of its thread") {
    const auto reason = world.end_of({.run = [](ServiceContext&) { pthread_exit(nullptr); }});
    CHECK(reason.kind == ExitKind::exception);
    CHECK(reason.detail == "its thread was ended by pthread_exit()");
  }
}

TEST_CASE("a service says how it ended, and exit codes mean what its spec says") {
  ThreadWorld world;
  const auto with_code = [](int code) {
    ExitReason reason = ExitReason::of(ExitKind::exit_code);
    reason.exit_code = code;
    return Behaviour{.run = [reason](ServiceContext&) { throw ServiceEnded(reason); }};
  };
  ServiceSpec spec;
  spec.success_exit_codes = {3};
  CHECK(world.end_of(with_code(3), spec).kind == ExitKind::normal);
  CHECK(world.end_of(with_code(4), spec).kind == ExitKind::exit_code);
  CHECK_FALSE(world.end_of(with_code(4), spec).permanent_failure);
  CHECK(world.end_of(with_code(78), spec).permanent_failure);
}

TEST_CASE("it is ready when it says so") {
  ThreadWorld world;
  Signal go;
  const LaunchOutcome outcome = world.launch({.run =
                                                  [&](ServiceContext& context) {
                                                    go.wait();
                                                    context.ready();
                                                    context.ready();
                                                    while (!context.cancellation().wait(1h)) {
                                                    }
                                                  }},
                                             with_readiness(NotifyReadiness{}));
  CHECK(outcome.state == LaunchOutcome::State::starting);
  CHECK(world.ready.empty());
  go.set();
  REQUIRE(world.wait_until([&] { return !world.ready.empty(); }));
  world.executor->request_stop(world.last);
  REQUIRE(world.wait_for_end());
  CHECK(world.ready.size() == 1);
}

TEST_CASE("what it says before its end arrives before its end") {
  ThreadWorld world;
  world.launch({.run =
                    [](ServiceContext& context) {
                      context.status("almost there");
                      context.log({{}, "WARNING", "app", "hm", "a.cpp", 7});
                      context.count("jobs", 2);
                      context.count("jobs", 3);
                      context.gauge("depth", 4);
                      context.ready();
                    }},
               with_readiness(NotifyReadiness{}));
  REQUIRE(world.wait_for_end());
  CHECK(world.ready.size() == 1);
  const auto logs = world.published<ServiceLog>();
  REQUIRE(logs.size() == 1);
  CHECK(logs[0].run == world.last);
  CHECK(logs[0].message == "hm");
  CHECK(world.published<ServiceStatusText>().at(0).text == "almost there");
  const auto lines = world.output.tail("tree/service", 10);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].text == "WARNING app: hm");
  CHECK(world.metrics.counters["tree/service jobs"] == 5);
  CHECK(world.metrics.gauges["tree/service depth"] == 4);
}

TEST_CASE("records that come faster than the loop takes them are dropped and counted") {
  ThreadWorld world;
  Signal said;
  world.launch({.run = [&](ServiceContext& context) {
    for (int i = 0; i < 5000; ++i) context.log({{}, "INFO", "app", "more", "", 0});
    said.set();
  }});
  REQUIRE(said.wait());  // The loop has not turned.
  REQUIRE(world.wait_for_end());
  CHECK(world.published<ServiceLog>().size() == 4096);
  const auto warnings = world.published<Warning>();
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].what.rfind("904 log records", 0) == 0);
}

TEST_CASE("preparation comes before run, on its thread, and what it throws is a failed start") {
  ThreadWorld world;
  SUBCASE("fine") {
    std::thread::id prepared, ran;
    const LaunchOutcome outcome =
        world.launch({.run =
                          [&](ServiceContext& context) {
                            ran = std::this_thread::get_id();
                            while (!context.cancellation().wait(1h)) {
                            }
                          },
                      .prepare = [&] { prepared = std::this_thread::get_id(); }});
    CHECK(outcome.state == LaunchOutcome::State::starting);
    REQUIRE(world.wait_until([&] { return !world.ready.empty(); }));
    world.executor->request_stop(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(prepared == ran);
    CHECK(prepared != std::this_thread::get_id());
  }
  SUBCASE("it throws") {
    const auto reason = world.end_of({.prepare = [] { throw OddError("no module named x"); }});
    CHECK(reason.kind == ExitKind::start_failed);
    REQUIRE(reason.exception.has_value());
    CHECK(reason.exception->message == "no module named x");
    CHECK(world.ready.empty());
  }
}

TEST_CASE("it may decline to run before it is ready") {
  ThreadWorld world;
  world.launch({.run = [](ServiceContext&) { throw Declined(); }},
               with_readiness(NotifyReadiness{}));
  REQUIRE(world.wait_for_end());
  CHECK(world.ignored == std::vector<RunId>{world.last});
  CHECK(world.exits.empty());
}

TEST_CASE("what a thread cannot have is a failed start that says what would be right") {
  ThreadWorld world;
  ServiceSpec spec;
  std::string part;
  SUBCASE("fd readiness") {
    spec.readiness = DescriptorReadiness{};
    part = "readiness of this kind needs a process of its own";
  }
  SUBCASE("exec liveness") {
    spec.liveness = ExecLiveness{{"true"}};
    part = "or write \"none\", \"heartbeat\", \"tcp\" or \"http\"";
  }
  SUBCASE("an address that is none") {
    spec.readiness = TcpReadiness{"nowhere", 80};
    part = "readiness: tcp probe: 'nowhere' is no address";
  }
  SUBCASE("a command") {
    spec.target = CommandTarget{{"true"}};
    part = "a command needs a process of its own; give it the executor \"process\"";
  }
  SUBCASE("Python where there is none") {
    spec.target = PythonTarget{"a:b", ""};
    part = "there is no Python in this host";
  }
  SUBCASE("an unknown name") {
    world.registry.add("reader", [](const ServiceSpec&) { return nullptr; });
    spec.target = NativeTarget{"raeder"};
    part = "did you mean \"reader\"?";
  }
  SUBCASE("a constructor that throws") {
    world.registry.add("bad", [](const ServiceSpec&) -> std::unique_ptr<Service> {
      throw OddError("no memory of that");
    });
    spec.target = NativeTarget{"bad"};
    part = "OddError: no memory of that";
  }
  if (std::holds_alternative<CommandTarget>(spec.target) && part.find("command") == part.npos) {
    world.registry.add("fine", [](const ServiceSpec&) { return nullptr; });
    spec.target = NativeTarget{"fine"};
  }
  const LaunchOutcome outcome = world.launch(std::make_shared<const ServiceSpec>(spec));
  CHECK(outcome.state == LaunchOutcome::State::failed);
  CHECK(outcome.reason.kind == ExitKind::start_failed);
  CHECK_MESSAGE(outcome.reason.describe().find(part) != std::string::npos,
                outcome.reason.describe());
  CHECK(world.executor->running() == 0);
}

TEST_CASE("a kill cancels and interrupts, and what then ends was killed") {
  ThreadWorld world;
  auto interrupted = std::make_shared<Signal>();
  auto stood_at = std::make_shared<std::thread::id>();
  world.launch({.run = [interrupted](ServiceContext&) { interrupted->wait(10min); },
                .interrupt =
                    [interrupted, stood_at] {
                      *stood_at = std::this_thread::get_id();
                      interrupted->set();
                    }});
  SUBCASE("after a stop that was ignored") {
    world.executor->request_stop(world.last);
    world.executor->kill(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].detail == "did not end within its shutdown timeout");
  }
  SUBCASE("at once") {
    world.executor->kill(world.last);
    world.executor->kill(world.last);
    REQUIRE(world.wait_for_end());
    CHECK(world.exits[world.last].detail == "was to be killed at once");
  }
  CHECK(world.exits[world.last].kind == ExitKind::killed);
  CHECK(*stood_at != std::this_thread::get_id());  // interrupt() may block.
}

TEST_CASE("a thread that ends neither way is stuck, abandoned, counted, and heard of no more") {
  Stubborn stubborn;
  {
    ThreadWorld world(grace(20ms));
    world.launch(stubborn.behaviour());
    REQUIRE(stubborn.runs->wait());
    world.executor->request_stop(world.last);
    world.executor->kill(world.last);
    REQUIRE(world.wait_for_end());
    const ExitReason& reason = world.exits[world.last];
    CHECK(reason.kind == ExitKind::stuck);
    CHECK(reason.stacks == "in released->wait()");
    CHECK(world.executor->running() == 0);
    CHECK(ThreadExecutor::abandoned() == 1);
    const auto warnings = world.published<Warning>();
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0].what.find("abandoned threads so far: 1") != std::string::npos);

    stubborn.released->set();
    CHECK(nobody_is_abandoned());
    world.loop.run_ready();
    CHECK(world.exits.size() == 1);
    CHECK(world.published<ServiceLog>().empty());
    CHECK(world.metrics.counters.empty());
  }
}

TEST_CASE("an interruption that blocks for ever holds nothing up") {
  Stubborn stubborn;
  auto released = stubborn.released;
  Behaviour behaviour = stubborn.behaviour();
  behaviour.interrupt = [released] { released->wait(10min); };
  ThreadWorld world(grace(20ms));
  world.launch(behaviour);
  world.executor->kill(world.last);
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last].kind == ExitKind::stuck);
  CHECK(world.exits[world.last].stacks.empty());  // Whoever tells it is held up, too.
  released->set();
  CHECK(nobody_is_abandoned());
}

TEST_CASE("the end of the executor waits for no thread longer than its grace") {
  Stubborn stubborn;
  const SystemClock clock;
  Instant begin;
  {
    ThreadWorld world(grace(50ms));
    world.launch(stubborn.behaviour());
    world.launch(patient(), {}, "good");
    REQUIRE(stubborn.runs->wait());
    begin = clock.now();
  }
  CHECK(clock.now() - begin < 10s);
  CHECK(ThreadExecutor::abandoned() == 1);
  stubborn.released->set();  // It says things to a host that is gone.
  CHECK(nobody_is_abandoned());
}

TEST_CASE("one that gives no heartbeat is cancelled, and ends by its liveness timeout") {
  ServiceSpec spec;
  spec.liveness = HeartbeatLiveness{50ms};
  SUBCASE("it answers the cancellation") {
    ThreadWorld world;
    Behaviour silent = patient();
    silent.stack = [] { return std::string("waiting for rain"); };
    const auto reason = world.end_of(silent, spec);
    CHECK(reason.kind == ExitKind::liveness_timeout);
    CHECK(reason.detail == "no heartbeat for 50ms");
    const auto told = world.published<ServiceUnresponsive>();
    REQUIRE(told.size() == 1);
    CHECK(told[0].probe == "heartbeat");
    CHECK(told[0].silence >= 50ms);
  }
  SUBCASE("it answers nothing") {
    Stubborn stubborn;
    ThreadWorld world(grace(20ms));
    const auto reason = world.end_of(stubborn.behaviour(), spec);
    CHECK(reason.kind == ExitKind::stuck);
    CHECK(reason.detail.rfind("no heartbeat for 50ms; ", 0) == 0);
    CHECK(reason.stacks == "in released->wait()");
    stubborn.released->set();
    CHECK(nobody_is_abandoned());
  }
}

TEST_CASE("one that listens is ready and alive as long as it accepts") {
  ThreadWorld world;
  const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  REQUIRE(::bind(listening, reinterpret_cast<sockaddr*>(&address), length) == 0);
  ::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &length);
  const std::uint16_t port = ntohs(address.sin_port);
  auto go = std::make_shared<Signal>();
  auto listens = std::make_shared<Signal>();
  ServiceSpec spec;
  spec.readiness = TcpReadiness{"127.0.0.1", port, 5ms};
  spec.liveness = TcpLiveness{"127.0.0.1", port, 5ms, 1s, 2};
  world.launch({.run =
                    [listening, go, listens](ServiceContext& context) {
                      go->wait();
                      ::listen(listening, 16);
                      listens->set();
                      while (!context.cancellation().wait(1h)) {
                      }
                    }},
               spec);
  CHECK(world.ready.empty());
  go->set();
  REQUIRE(world.wait_until([&] { return !world.ready.empty(); }));
  listens->wait();
  ::close(listening);
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last].kind == ExitKind::liveness_timeout);
  CHECK(world.exits[world.last].detail.rfind("tcp 127.0.0.1:", 0) == 0);
  CHECK(world.published<ServiceUnresponsive>().at(0).probe == "tcp");
}

TEST_CASE(
    "probes ask a thread as they ask a process: ready at a good answer, ended after bad ones") {
  const std::string bad = answer_of("503 Oh");
  const CannedServer readiness({bad, answer_of("200 OK")});
  const CannedServer liveness({answer_of("200 OK"), bad, bad});
  ThreadWorld world;
  ServiceSpec spec;
  spec.readiness = HttpReadiness{.check = readiness.check(), .interval = 5ms};
  spec.liveness =
      HttpLiveness{.check = liveness.check(), .interval = 5ms, .timeout = 20s, .max_failures = 2};
  const auto reason = world.end_of(patient(), spec);
  CHECK(world.ready == std::vector<RunId>{world.last});
  CHECK(readiness.requests().size() == 2);
  CHECK(liveness.requests().size() == 3);
  CHECK(reason.kind == ExitKind::liveness_timeout);
  CHECK(reason.detail.find("GET / answered 503") != std::string::npos);
  const auto told = world.published<ServiceUnresponsive>();
  REQUIRE(told.size() == 1);
  CHECK(told[0].probe == "http");
}

TEST_CASE("a heart that beats keeps a service alive") {
  ThreadWorld world;
  ServiceSpec spec;
  spec.liveness = HeartbeatLiveness{200ms};
  const auto reason = world.end_of({.run =
                                        [](ServiceContext& context) {
                                          for (int i = 0; i < 100; ++i) {
                                            context.heartbeat();
                                            if (context.cancellation().wait(5ms)) return;
                                          }
                                        }},
                                   spec);
  CHECK(reason.kind == ExitKind::normal);
  CHECK(world.published<ServiceUnresponsive>().empty());
}

TEST_CASE("services can observe the events of their host") {
  ThreadWorld world;
  std::string seen;
  world.launch({.run = [&](ServiceContext& context) {
    const auto queue = context.open_events(EventKind::warning, 10);
    // On the loop, which opening the queue may need too: nobody may wait there for this thread.
    world.loop.post([&] { world.bus.publish("", Warning{"look here"}); });
    const auto batch = queue->take(20s);
    if (!batch.empty()) seen = std::get<Warning>(batch[0]->payload).what;
  }});
  REQUIRE(world.wait_for_end());
  CHECK(seen == "look here");
}

TEST_CASE("who waits for the loop to open its events is let go when the host ends") {
  Signal runs;
  std::atomic<bool> cancelled{false};
  {
    ThreadWorld world(grace(20s));  // Whose loop never turns.
    world.launch({.run = [&](ServiceContext& context) {
      runs.set();
      try {
        const auto queue = context.open_events(EventKind::warning, 10);
      } catch (const Cancelled&) {
        cancelled = true;
      }
    }});
    REQUIRE(runs.wait());
  }
  CHECK(cancelled);
  CHECK(ThreadExecutor::abandoned() == 0);
}

TEST_CASE("whose run is over opens no events") {
  Signal runs, released, refused;
  ThreadWorld world(grace(20ms));
  world.launch({.run = [&](ServiceContext& context) {
    runs.set();
    released.wait();
    try {
      const auto queue = context.open_events(EventKind::warning, 10);
    } catch (const Cancelled&) {
      refused.set();
    }
  }});
  REQUIRE(runs.wait());
  world.executor->kill(world.last);
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last].kind == ExitKind::stuck);
  released.set();
  const Instant deadline = world.clock.now() + 20s;
  while (!refused.is_set() && world.clock.now() < deadline) world.loop.run_ready();
  CHECK(refused.is_set());
  CHECK(nobody_is_abandoned());
}

TEST_CASE("a thousand lives leave no thread and no run behind") {
  ThreadWorld world;
  world.registry.add("brief", [](const ServiceSpec&) {
    return std::make_unique<BehavingService>(
        Behaviour{.run = [](ServiceContext&) { throw OddError("again"); }});
  });
  ServiceSpec brief;
  brief.target = NativeTarget{"brief"};
  const auto spec = std::make_shared<const ServiceSpec>(brief);
  std::thread([] {}).join();  // With the first thread a sanitizer starts one of its own.
  const auto before = threads_of_this_process();
  world.on_exit = [&](RunId) {
    if (world.exits.size() < 1000) CHECK(world.launch(spec).state != LaunchOutcome::State::failed);
  };
  world.launch(spec);
  REQUIRE(world.wait_until([&] { return world.exits.size() == 1000; }, 60s));
  CHECK(world.executor->running() == 0);
  CHECK(no_threads_are_left_but(before));
  CHECK(spec.use_count() == 1);
}
