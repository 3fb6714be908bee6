#include "framework/awaitables.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/run_task.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

struct Ended final : TaskObserver {
  std::coroutine_handle<> on_task_ended() noexcept override {
    reached = true;
    return std::noop_coroutine();
  }
  bool reached = false;
};

struct Fixture {
  SystemClock clock;
  EventLoop loop{clock};
  CancellationSource source;
  CancellationToken token = source.token();

  // Runs the loop until `done`, at most 20 s.
  void run_until(const std::function<bool()>& done) {
    const Instant limit = clock.now() + 20s;
    while (!done() && clock.now() < limit) {
      const TimerId look = loop.start_timer(clock.now() + 1ms, [this] { loop.stop(); });
      loop.run();
      loop.cancel_timer(look);
    }
    REQUIRE(done());
  }
};

// An eventfd: ready to read when its count is not 0.
struct Descriptor {
  Descriptor() : number(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { REQUIRE(number >= 0); }
  ~Descriptor() { ::close(number); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void make_ready() const { REQUIRE(::eventfd_write(number, 1) == 0); }
  int number;
};

// ---- Each wait, as one table: what it is, and what ends it ----

Task<std::string> sleeps(EventLoop& loop, Duration duration, CancellationToken token) {
  try {
    co_await sleep_for(loop, duration, token);
    co_return "slept";
  } catch (const Cancelled&) {
    co_return "cancelled";
  }
}
Task<std::string> waits_for_future(EventLoop& loop, Future<int> future, CancellationToken token) {
  try {
    const Result<int> found = co_await outcome_of(loop, std::move(future), token);
    co_return found ? std::to_string(*found) : found.error().message;
  } catch (const Cancelled&) {
    co_return "cancelled";
  }
}
Task<std::string> waits_for_cancellation(EventLoop& loop, CancellationToken token) {
  co_await cancelled(loop, token);
  co_return "asked";
}
Task<std::string> waits_for_descriptor(EventLoop& loop, int descriptor, CancellationToken token) {
  try {
    const Interest seen = co_await ready(loop, descriptor, Interest::readable, token);
    co_return seen == Interest::readable ? "readable" : "something else";
  } catch (const Cancelled&) {
    co_return "cancelled";
  } catch (const std::exception& error) {
    co_return error.what();
  }
}
Task<std::string> calls(EventLoop& loop, std::function<std::string()> work,
                        CancellationToken token) {
  try {
    const std::string found = co_await run_blocking(loop, std::move(work), token);
    co_return found;
  } catch (const Cancelled&) {
    co_return "cancelled";
  } catch (const std::exception& error) {
    co_return error.what();
  }
}

TEST_CASE_FIXTURE(Fixture, "a sleep is never early, and a cancellation ends it at once") {
  SUBCASE("it passes") {
    const Instant begin = clock.now();
    CHECK(run_task(loop, sleeps(loop, 3ms, token)) == "slept");
    CHECK(clock.now() - begin >= 3ms);
  }
  SUBCASE("no time at all is a turn") {
    CHECK(run_task(loop, sleeps(loop, 0ms, token)) == "slept");
    CHECK(run_task(loop, sleeps(loop, -1h, token)) == "slept");
  }
  SUBCASE("cancelled before") {
    source.request_cancellation();
    CHECK(run_task(loop, sleeps(loop, Duration::max(), token)) == "cancelled");
  }
  SUBCASE("cancelled on the loop") {
    loop.post([this] { loop.post([this] { source.request_cancellation(); }); });
    CHECK(run_task(loop, sleeps(loop, Duration::max(), token)) == "cancelled");
  }
  SUBCASE("cancelled by another thread") {
    std::thread other([this] { source.request_cancellation(); });
    CHECK(run_task(loop, sleeps(loop, 1h, token)) == "cancelled");
    other.join();
  }
}

TEST_CASE_FIXTURE(Fixture, "a future is waited for, whichever thread settles it") {
  Promise<int> promise;
  SUBCASE("settled before") {
    Future<int> future = promise.future();
    promise.settle(5);
    CHECK(run_task(loop, waits_for_future(loop, std::move(future), token)) == "5");
  }
  SUBCASE("settled on the loop") {
    Future<int> future = promise.future();
    loop.post([&] { loop.post([&] { promise.settle(6); }); });
    CHECK(run_task(loop, waits_for_future(loop, std::move(future), token)) == "6");
  }
  SUBCASE("settled by another thread") {
    Future<int> future = promise.future();
    std::thread other([&] { promise.settle(7); });
    CHECK(run_task(loop, waits_for_future(loop, std::move(future), token)) == "7");
    other.join();
  }
  SUBCASE("dropped") {
    Future<int> future = promise.future();
    loop.post([&] { promise = Promise<int>(); });
    CHECK(run_task(loop, waits_for_future(loop, std::move(future), token)).find("dropped") !=
          std::string::npos);
  }
  SUBCASE("cancelled, and settled afterwards") {
    Future<int> future = promise.future();
    loop.post([&] { loop.post([&] { source.request_cancellation(); }); });
    CHECK(run_task(loop, waits_for_future(loop, std::move(future), token)) == "cancelled");
    promise.settle(8);
  }
}

TEST_CASE_FIXTURE(Fixture, "a promise may be kept when its loop has gone") {
  Promise<int> promise;
  {
    EventLoop brief(clock);
    Ended ended;
    Task<std::string> task = waits_for_future(brief, promise.future(), token);
    task.start(ended);
  }
  promise.settle(1);
  source.request_cancellation();
}

TEST_CASE_FIXTURE(Fixture, "a cancellation is waited for") {
  SUBCASE("requested before") { source.request_cancellation(); }
  SUBCASE("requested later") {
    loop.post([this] { loop.post([this] { source.request_cancellation(); }); });
  }
  CHECK(run_task(loop, waits_for_cancellation(loop, token)) == "asked");
}

TEST_CASE_FIXTURE(Fixture, "a descriptor is waited for, again and again") {
  const Descriptor descriptor;
  SUBCASE("it becomes ready") {
    loop.post([&] { descriptor.make_ready(); });
    CHECK(run_task(loop, waits_for_descriptor(loop, descriptor.number, token)) == "readable");
    CHECK(run_task(loop, waits_for_descriptor(loop, descriptor.number, token)) == "readable");
  }
  SUBCASE("cancelled") {
    loop.post([this] { loop.post([this] { source.request_cancellation(); }); });
    CHECK(run_task(loop, waits_for_descriptor(loop, descriptor.number, token)) == "cancelled");
  }
  SUBCASE("watched already") {
    const Watch taken = loop.watch(descriptor.number, Interest::readable, [](Interest) {});
    CHECK(run_task(loop, waits_for_descriptor(loop, descriptor.number, token))
              .find("one watch each") != std::string::npos);
  }
  SUBCASE("not open") {
    CHECK(run_task(loop, waits_for_descriptor(loop, -1, token)).find("watch descriptor -1") !=
          std::string::npos);
  }
}

// The watch must not go on ringing while its coroutine waits for something else.
Task<int> turns_after_ready(EventLoop& loop, int descriptor) {
  co_await ready(loop, descriptor, Interest::readable);
  int turns = 0;
  for (; turns < 10; ++turns) co_await sleep_for(loop, 1ms);
  co_return turns;
}

struct CountedTurns final : TurnObserver {
  void on_turn_began() noexcept override { ++count; }
  void on_turn_ended() noexcept override {}
  int count = 0;
};

TEST_CASE_FIXTURE(Fixture, "a descriptor is watched only while it is waited for") {
  const Descriptor descriptor;
  descriptor.make_ready();
  CountedTurns turns;
  loop.observe_turns(&turns);
  CHECK(run_task(loop, turns_after_ready(loop, descriptor.number)) == 10);
  CHECK(turns.count < 60);
  loop.observe_turns(nullptr);
}

TEST_CASE_FIXTURE(Fixture, "a blocking call gives its value or its exception, on the loop") {
  const auto loop_thread = std::this_thread::get_id();
  CHECK(run_task(loop, calls(
                           loop,
                           [loop_thread] {
                             return std::this_thread::get_id() == loop_thread ? "here" : "there";
                           },
                           token)) == "there");
  CHECK(run_task(loop, calls(
                           loop, []() -> std::string { throw std::runtime_error("bad disk"); },
                           token)) == "bad disk");
}

TEST_CASE_FIXTURE(Fixture, "a blocking call that is called off runs to its end unheard") {
  std::atomic<bool> go{false};
  std::atomic<bool> finished{false};
  loop.post([this] { loop.post([this] { source.request_cancellation(); }); });
  CHECK(run_task(loop, calls(
                           loop,
                           [&] {
                             go.wait(false);
                             finished = true;
                             return std::string("late");
                           },
                           token)) == "cancelled");
  go = true;
  go.notify_all();
  run_until([&] { return finished.load(); });
}

Task<> returns_nothing(EventLoop& loop, int* calls) {
  co_await run_blocking(loop, [calls] { ++*calls; });
}

TEST_CASE_FIXTURE(Fixture, "a blocking call may return nothing") {
  int calls = 0;
  run_task(loop, returns_nothing(loop, &calls));
  CHECK(calls == 1);
}

// ---- Turns ----

Task<> counts_turns(EventLoop& loop, std::vector<std::string>& log, std::string name) {
  for (int i = 0; i < 2; ++i) {
    log.push_back(name + std::to_string(i));
    co_await next_turn(loop);
  }
}

TEST_CASE_FIXTURE(Fixture, "when_all begins all, and a turn lets the others go first") {
  std::vector<std::string> log;
  const auto both = [](EventLoop& on, std::vector<std::string>& to) -> Task<> {
    std::vector<Task<>> tasks;
    tasks.push_back(counts_turns(on, to, "a"));
    tasks.push_back(counts_turns(on, to, "b"));
    co_await when_all(std::move(tasks));
  };
  run_task(loop, both(loop, log));
  CHECK(log == std::vector<std::string>{"a0", "b0", "a1", "b1"});
}

Task<int> later(EventLoop& loop, int value) {
  if (value % 2 == 0) co_await sleep_for(loop, std::chrono::milliseconds(5 - value));
  if (value == 3) throw std::runtime_error("three");
  co_return value;
}
Task<std::vector<int>> all_of(EventLoop& loop, std::vector<int> values) {
  std::vector<Task<int>> tasks;
  tasks.reserve(values.size());
  for (const int value : values) tasks.push_back(later(loop, value));
  std::vector<int> found = co_await when_all(std::move(tasks));
  co_return found;
}

TEST_CASE_FIXTURE(Fixture, "when_all gives values in order, or the first failure after all ended") {
  CHECK(run_task(loop, all_of(loop, {})).empty());
  CHECK(run_task(loop, all_of(loop, {4, 1, 2})) == std::vector<int>{4, 1, 2});
  CHECK_THROWS_WITH(run_task(loop, all_of(loop, {3, 2})), "three");
}

// Resumes on a thread of its own.
struct OnThread {
  explicit OnThread(std::thread& a_thread) : thread(a_thread) {}
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) const {
    thread = std::thread([waiting] { waiting.resume(); });
  }
  void await_resume() const noexcept {}
  std::thread& thread;
};

Task<bool> goes_and_comes_back(EventLoop& loop, std::thread& thread) {
  OnThread away(thread);
  co_await away;
  const bool was_away = !loop.in_loop_thread();
  co_await on_loop(loop);
  const bool is_back = loop.in_loop_thread();
  co_await on_loop(loop);  // No turn is needed.
  co_return was_away&& is_back;
}

TEST_CASE_FIXTURE(Fixture, "a coroutine comes back to its loop from another thread") {
  for (int i = 0; i < 100; ++i) {
    std::thread thread;
    CHECK(run_task(loop, goes_and_comes_back(loop, thread)));
    thread.join();
  }
}

// ---- Destruction while waiting ----

// What a wait waits for, until it is let go.
struct World {
  Descriptor descriptor;
  Promise<int> promise;
  std::shared_ptr<std::atomic<bool>> go = std::make_shared<std::atomic<bool>>(false);
};

Task<std::string> sleeps_many_times(EventLoop& loop, CancellationToken token) {
  std::vector<Task<std::string>> tasks;
  tasks.reserve(100);
  for (int i = 0; i < 100; ++i) tasks.push_back(sleeps(loop, 1ms, token));
  co_await when_all(std::move(tasks));
  co_return "all";
}

using Wait = Task<std::string> (*)(EventLoop&, World&, CancellationToken);
const std::pair<const char*, Wait> waits[] = {
    {"a sleep", [](EventLoop& loop, World&, CancellationToken t) { return sleeps(loop, 1ms, t); }},
    {"a turn",
     [](EventLoop& loop, World&, CancellationToken) -> Task<std::string> {
       co_await next_turn(loop);
       co_await next_turn(loop);
       co_return "two turns";
     }},
    {"a future",
     [](EventLoop& loop, World& world, CancellationToken t) {
       return waits_for_future(loop, world.promise.future(), t);
     }},
    {"a cancellation",
     [](EventLoop& loop, World&, CancellationToken t) { return waits_for_cancellation(loop, t); }},
    {"a descriptor",
     [](EventLoop& loop, World& world, CancellationToken t) {
       return waits_for_descriptor(loop, world.descriptor.number, t);
     }},
    {"a blocking call",
     [](EventLoop& loop, World& world, CancellationToken t) {
       const auto work = [go = world.go] {
         go->wait(false);
         return std::string("done");
       };
       return calls(loop, work, t);
     }},
    {"many",
     [](EventLoop& loop, World&, CancellationToken t) { return sleeps_many_times(loop, t); }},
};

TEST_CASE("a coroutine that is destroyed while it waits leaves nothing behind") {
  for (const auto& entry : waits) {
    const std::string name = entry.first;  // No binding: clang 14 captures none.
    for (const bool end_is_on_its_way : {false, true}) {
      CAPTURE(name);
      CAPTURE(end_is_on_its_way);
      Fixture f;
      World world;
      Ended ended;
      Task<std::string> task = entry.second(f.loop, world, f.token);
      f.loop.post([&] { task.start(ended); });
      f.loop.run_ready();
      REQUIRE_FALSE(ended.reached);
      // Posts a resumption, which then finds nobody.
      if (end_is_on_its_way) f.source.request_cancellation();
      task = Task<std::string>();

      // Everything that might have ended the wait comes now.
      f.source.request_cancellation();
      world.descriptor.make_ready();
      *world.go = true;
      world.go->notify_all();
      const Instant begin = f.clock.now();
      f.run_until([&] { return f.clock.now() > begin + 5ms && world.go.use_count() == 1; });
      CHECK_FALSE(ended.reached);
      CHECK(f.loop.try_watch(world.descriptor.number, Interest::readable, [](Interest) {}).ok());
    }
  }
}

// ---- Whose turn it is ----

struct Occupant final : LoopOccupant {
  explicit Occupant(std::string a_path) : name(std::move(a_path)) {}
  [[nodiscard]] RunId run() const override { return RunId{1}; }
  [[nodiscard]] std::string path() const override { return name; }
  [[nodiscard]] std::string stack() const override { return {}; }
  std::string name;
};

std::string seated(EventLoop& loop) {
  const auto occupant = loop.seat().look().occupant;
  return occupant ? occupant->path() : "nobody";
}

Task<> notes_its_seat(EventLoop& loop, std::vector<std::string>& log) {
  log.push_back(seated(loop));
  co_await sleep_for(loop, 1ms);
  log.push_back(seated(loop));
  co_await next_turn(loop);
  log.push_back(seated(loop));
}

TEST_CASE_FIXTURE(Fixture, "a coroutine has the seat of its loop whenever it goes on") {
  std::vector<std::string> log;
  Ended ended;
  Task<> task = notes_its_seat(loop, log);
  loop.post([&] {
    const LoopSeat::Taken seat(loop.seat(), std::make_shared<Occupant>("tree/a"));
    task.start(ended);
  });
  run_until([&] { return ended.reached; });
  CHECK(log == std::vector<std::string>{"tree/a", "tree/a", "tree/a"});
  CHECK(seated(loop) == "nobody");
}

// ---- Services ----

struct NoContext final : ServiceContext {
  [[nodiscard]] const std::string& id() const override { return text; }
  [[nodiscard]] const std::string& path() const override { return text; }
  [[nodiscard]] const nlohmann::json& config() const override { return json; }
  [[nodiscard]] CancellationToken cancellation() const override { return source.token(); }
  void ready() override { ++readies; }
  void heartbeat() override {}
  void status(std::string_view) override {}
  void log(ServiceLog) override {}
  void count(std::string_view, double) override {}
  void gauge(std::string_view, double) override {}
  [[nodiscard]] std::shared_ptr<EventQueue> open_events(EventKinds, std::size_t) override {
    return nullptr;
  }
  [[nodiscard]] EventLoop& loop() override { throw std::logic_error("not this one"); }

  std::string text = "a";
  nlohmann::json json;
  CancellationSource source;
  int readies = 0;
};

struct Sleeper final : Service {
  Task<> run_async(ServiceContext& context) override {
    context.ready();
    co_await sleep_for(context, 1ms);
    co_await next_turn(context);
    co_await cancelled(context);
    co_await sleep_for(context, 1ms);
  }
};

TEST_CASE("a service that can only wait runs on a loop of its own where it may block") {
  NoContext context;
  Sleeper sleeper;
  std::thread stops([&] { context.source.request_cancellation(); });
  CHECK_THROWS_AS(sleeper.run(context), Cancelled);
  stops.join();
  CHECK(context.readies <= 1);
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const ServiceEnded& ended) {
    return ended.reason().kind == ExitKind::start_failed ? ended.reason().detail : "another kind";
  }
  return "none";
}

TEST_CASE("a service that overrides neither way to run says so") {
  struct Empty final : Service {
  } empty;
  NoContext context;
  CHECK(refusal([&] { empty.run(context); }) ==
        "the service overrides neither run() nor run_async()");
  CHECK(refusal([&] { static_cast<void>(empty.run_async(context)); }).find("thread executor") !=
        std::string::npos);
}

}  // namespace
}  // namespace unirun
