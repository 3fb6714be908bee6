// The contract of executors, item by item, for coroutines on the loop.

#include "executors/async/async_executor.h"

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "executors/output/output_store.h"
#include "framework/awaitables.h"
#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "tests/executors/async_fixture.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;
using State = LaunchOutcome::State;

// ---- Services, one for each thing that a service may do ----

Task<> returns_at_once(ServiceContext&) { co_return; }
Task<> throws_at_once(ServiceContext&) {
  throw std::runtime_error("no such queue");
  co_return;
}
Task<> declines_at_once(ServiceContext&) {
  throw Declined();
  co_return;
}
Task<> waits_for_its_stop(ServiceContext& context) { co_await cancelled(context); }
Task<> sleeps_until_cancelled(ServiceContext& context) {
  co_await sleep_for(context, Duration::max());
}
Task<> ignores_its_stop(ServiceContext& context) {
  co_await sleep_for(context.loop(), Duration::max());
}
Task<> takes_a_turn(ServiceContext& context) { co_await next_turn(context); }
Task<> throws_later(ServiceContext& context) {
  co_await next_turn(context);
  throw std::runtime_error("lost its connection");
}
Task<> declines_later(ServiceContext& context) {
  co_await next_turn(context);
  throw Declined();
}
Task<> cancels_itself(ServiceContext& context) {
  co_await next_turn(context);
  throw Cancelled();
}
Task<> says_how_it_ended(ServiceContext& context) {
  co_await next_turn(context);
  ExitReason reason = ExitReason::of(ExitKind::exit_code);
  reason.exit_code = 78;
  throw ServiceEnded(reason);
}
Task<> says_ready_then_waits(ServiceContext& context) {
  co_await next_turn(context);
  context.ready();
  context.ready();
  co_await cancelled(context);
}
Task<> throws_when_stopped(ServiceContext& context) {
  co_await cancelled(context);
  throw std::runtime_error("could not flush");
}

TEST_CASE_FIXTURE(AsyncFixture, "a service that waits is running, and its stop is a shutdown") {
  for (const Run service : {waits_for_its_stop, sleeps_until_cancelled}) {
    const RunId run = launch(service);
    CHECK(outcome.state == State::running);
    CHECK(executor.running() == 1);
    executor.request_stop(run);
    executor.request_stop(run);
    CHECK(ends.count(run) == 0);  // Never from within a call.
    CHECK(end_of(run).kind == ExitKind::shutdown);
    CHECK(executor.running() == 0);
  }
}

TEST_CASE_FIXTURE(AsyncFixture, "what ends before it first waits was never running") {
  CHECK(launch_state(declines_at_once) == State::ignored);
  CHECK(executor.running() == 0);

  const RunId brief = launch(returns_at_once);
  CHECK(outcome.state == State::over);
  CHECK(end_of(brief).kind == ExitKind::normal);

  const RunId broken = launch(throws_at_once);
  CHECK(outcome.state == State::over);
  CHECK(end_of(broken).exception->message == "no such queue");

  // Where it was to say that it is ready first, these are failed starts.
  spec.readiness = NotifyReadiness{};
  CHECK(launch_state(declines_at_once) == State::ignored);
  const RunId unready = launch(throws_at_once);
  CHECK(outcome.state == State::starting);
  CHECK(end_of(unready).exception->type == "std::runtime_error");
  CHECK(readies.empty());
}

TEST_CASE_FIXTURE(AsyncFixture, "an exception is a crash of that service alone") {
  const RunId sibling = launch(waits_for_its_stop);
  const RunId run = launch(throws_later);
  CHECK(outcome.state == State::running);
  const ExitReason reason = end_of(run);
  CHECK(reason.kind == ExitKind::exception);
  CHECK(reason.exception == ExceptionText{"std::runtime_error", "lost its connection", ""});
  CHECK(executor.running() == 1);
  executor.request_stop(sibling);
  CHECK(end_of(sibling).kind == ExitKind::shutdown);
}

TEST_CASE_FIXTURE(AsyncFixture, "how a service ends says why") {
  CHECK(end_of(launch(takes_a_turn)).kind == ExitKind::normal);
  CHECK(end_of(launch(cancels_itself)).kind == ExitKind::exception);
  const ExitReason code = end_of(launch(says_how_it_ended));
  CHECK(code.kind == ExitKind::exit_code);
  CHECK(code.permanent_failure);
  const RunId broken = launch(throws_when_stopped);
  executor.request_stop(broken);
  CHECK(end_of(broken).kind == ExitKind::exception);
}

TEST_CASE_FIXTURE(AsyncFixture, "readiness by notify comes when the service says so, once") {
  spec.readiness = NotifyReadiness{};
  const RunId run = launch(says_ready_then_waits);
  CHECK(outcome.state == State::starting);
  turn_until([&] { return !readies.empty(); });
  executor.request_stop(run);
  CHECK(end_of(run).kind == ExitKind::shutdown);
  CHECK(readies == std::vector<RunId>{run});
}

TEST_CASE_FIXTURE(AsyncFixture, "a service that declines before it is ready is ignored") {
  spec.readiness = NotifyReadiness{};
  const RunId run = launch(declines_later);
  turn_until([&] { return !ignored.empty(); });
  CHECK(ignored == std::vector<RunId>{run});
  CHECK(ends.empty());
}

TEST_CASE_FIXTURE(AsyncFixture, "a kill destroys the coroutine where it waits, and its service") {
  const auto alive = std::make_shared<int>(0);
  for (const bool asked_before : {false, true}) {
    const RunId run = launch([alive](ServiceContext& context) -> Task<> {
      return [](ServiceContext& in, std::shared_ptr<int>) -> Task<> {
        co_await sleep_for(in.loop(), Duration::max());
      }(context, alive);
    });
    const long held = alive.use_count();
    CHECK(held > 1);
    if (asked_before) executor.request_stop(run);
    executor.kill(run);
    executor.kill(run);
    CHECK(ends.count(run) == 0);
    const ExitReason reason = end_of(run);
    CHECK(reason.kind == ExitKind::killed);
    CHECK(alive.use_count() == 1);
    CHECK(reason.detail ==
          (asked_before ? "did not end within its shutdown timeout" : "was to be killed at once"));
  }
  CHECK(executor.running() == 0);
}

TEST_CASE_FIXTURE(AsyncFixture, "a service may be killed by what it calls itself") {
  RunId own{};
  own = launch([&](ServiceContext& context) -> Task<> {
    return [](AsyncFixture& fixture, ServiceContext& in, RunId& run) -> Task<> {
      co_await next_turn(in);
      fixture.executor.kill(run);
      co_await sleep_for(in.loop(), Duration::max());
    }(*this, context, own);
  });
  CHECK(end_of(own).kind == ExitKind::killed);
}

TEST_CASE_FIXTURE(AsyncFixture, "the replacement finds nothing of the dead one alive") {
  int living = 0;
  int most = 0;
  struct Exclusive {
    Exclusive(int& a_living, int& most) : living(a_living) { most = std::max(most, ++living); }
    ~Exclusive() { --living; }
    Exclusive(const Exclusive&) = delete;
    Exclusive& operator=(const Exclusive&) = delete;
    int& living;
  };
  const auto service = [&](ServiceContext& context) -> Task<> {
    return [](ServiceContext& in, int& now, int& at_most) -> Task<> {
      const Exclusive port(now, at_most);
      co_await next_turn(in);
      throw std::runtime_error("crash");
    }(context, living, most);
  };
  int left = 100;
  on_end = [&] {
    if (--left > 0) launch(service);
  };
  launch(service);
  turn_until([&] { return left == 0; });
  CHECK(most == 1);
  CHECK(living == 0);
}

// ---- What goes on beyond its coroutine, as an asyncio task does ----

struct Stubborn final : Service {
  explicit Stubborn(bool yields) : yields_to_interrupt(yields) {}
  Task<> run_async(ServiceContext& context) override {
    Promise<int> promise;
    Future<int> outcome = promise.future();
    end = std::move(promise);
    Result<int> found = co_await outcome_of(context.loop(), std::move(outcome));
    if (found && *found == 1) throw std::runtime_error("interrupted");
  }
  void interrupt() override {
    ++interrupts;
    if (yields_to_interrupt) end.settle(1);
  }
  [[nodiscard]] bool survives_its_coroutine() const override { return true; }
  [[nodiscard]] std::string stack() const override { return "in its own loop"; }

  const bool yields_to_interrupt;
  int interrupts = 0;
  Promise<int> end;
};

TEST_CASE("what survives its coroutine is interrupted, and given up if that does not help") {
  AsyncFixture f({.grace = 5ms});
  for (const bool yields : {true, false}) {
    Stubborn* service = nullptr;
    const RunId run = f.launch_service([&] {
      auto made = std::make_unique<Stubborn>(yields);
      service = made.get();
      return made;
    });
    f.executor.kill(run);
    const ExitReason reason = f.end_of(run);
    CHECK(f.executor.running() == 0);
    if (yields) {
      CHECK(reason.kind == ExitKind::killed);
      continue;
    }
    CHECK(reason.kind == ExitKind::stuck);
    CHECK(reason.stacks == "in its own loop");
    CHECK(service->interrupts == 1);
    service->end.settle(0);  // Late, and nobody's business any more.
    f.turn_for(10ms);
    CHECK(f.ends.size() == 2);
  }
}

TEST_CASE("an executor that ends destroys what still waits, and tells nobody") {
  const auto held = std::make_shared<int>(0);
  int ends = 0;
  {
    AsyncFixture f;
    f.on_end = [&] { ++ends; };
    for (int i = 0; i < 3; ++i) {
      f.launch([held](ServiceContext& context) -> Task<> {
        return [](ServiceContext& in, std::shared_ptr<int>) -> Task<> { co_await cancelled(in); }(
                                                                context, held);
      });
    }
    f.executor.request_stop(f.last_run);
  }
  CHECK(held.use_count() == 1);
  CHECK(ends == 0);
}

// ---- Preparation ----

struct Prepared final : Service {
  explicit Prepared(std::function<void()> a_preparation) : preparation(std::move(a_preparation)) {}
  [[nodiscard]] bool needs_preparation() const override { return true; }
  void prepare() override { preparation(); }
  Task<> run_async(ServiceContext& context) override { co_await cancelled(context); }
  std::function<void()> preparation;
};

TEST_CASE_FIXTURE(AsyncFixture, "a service is prepared off the loop, and is ready when it runs") {
  const auto loop_thread = std::this_thread::get_id();
  bool elsewhere = false;
  const RunId run = launch_service([&] {
    return std::make_unique<Prepared>(
        [&] { elsewhere = std::this_thread::get_id() != loop_thread; });
  });
  CHECK(outcome.state == State::starting);
  turn_until([&] { return !readies.empty(); });
  CHECK(elsewhere);
  executor.request_stop(run);
  CHECK(end_of(run).kind == ExitKind::shutdown);
}

TEST_CASE_FIXTURE(AsyncFixture, "a preparation that fails is a failed start, by its reason") {
  const RunId run = launch_service([] {
    return std::make_unique<Prepared>([] { throw std::runtime_error("no module named jobs"); });
  });
  const ExitReason reason = end_of(run);
  CHECK(reason.kind == ExitKind::start_failed);
  CHECK(reason.exception->message == "no module named jobs");
  CHECK(readies.empty());
}

TEST_CASE_FIXTURE(AsyncFixture, "who is stopped or killed while it prepares itself never runs") {
  for (const bool kill : {false, true}) {
    // One that was killed may begin to prepare itself when this test has gone on.
    const auto go = std::make_shared<std::atomic<bool>>(false);
    const RunId run =
        launch_service([&] { return std::make_unique<Prepared>([go] { go->wait(false); }); });
    if (kill) {
      executor.kill(run);
      CHECK(end_of(run).kind == ExitKind::killed);  // Waits for no preparation.
    } else {
      executor.request_stop(run);
    }
    *go = true;
    go->notify_all();
    if (!kill) CHECK(end_of(run).kind == ExitKind::shutdown);
    turn_for(2ms);
  }
  CHECK(readies.empty());
}

// ---- Bad input ----

struct RunsOnly final : Service {
  void run(ServiceContext&) override {}
};

TEST_CASE_FIXTURE(AsyncFixture, "what cannot run here is a failed start that says what would") {
  launch_service([] { return std::make_unique<RunsOnly>(); });
  CHECK(outcome.state == State::failed);
  CHECK(outcome.reason.detail.find("give it the thread executor") != std::string::npos);

  launch_service([]() -> std::unique_ptr<Service> { throw std::runtime_error("no database"); });
  CHECK(outcome.state == State::failed);
  CHECK(outcome.reason.detail.find("no database") != std::string::npos);

  launch([](ServiceContext&) -> Task<> { return Task<>(); });
  CHECK(outcome.state == State::failed);
  CHECK(outcome.reason.detail.find("no task") != std::string::npos);

  spec.target = CommandTarget{{"true"}};
  launch(returns_at_once, false);
  CHECK(outcome.state == State::failed);
  CHECK(executor.running() == 0);
}

// ---- Signs of life ----

Task<> beats_then_stops(ServiceContext& context) {
  for (int i = 0; i < 5; ++i) {
    context.heartbeat();
    co_await sleep_for(context, 2ms);
  }
  co_await sleep_for(context.loop(), Duration::max());
}

TEST_CASE("a service that stops beating is told of, cancelled, and ended by force after a grace") {
  AsyncFixture f({.grace = 5ms});
  f.spec.liveness = HeartbeatLiveness{20ms};
  const RunId run = f.launch(beats_then_stops);
  const ExitReason reason = f.end_of(run);
  CHECK(reason.kind == ExitKind::liveness_timeout);
  CHECK(reason.detail == "no heartbeat for 20ms");
  CHECK(f.count(EventKind::service_unresponsive) == 1);
}

TEST_CASE("a service that keeps the loop is named with its stack while it does") {
  AsyncFixture f({.blocked_after = 10ms});
  const auto queue = f.bus.open_queue(EventKind::loop_blocked, 10);
  struct Blocks final : Service {
    explicit Blocks(EventQueue& a_queue) : queue(a_queue) {}
    Task<> run_async(ServiceContext& context) override {
      co_await next_turn(context);
      for (const auto& event : queue.take(20s)) told.push_back(*event);  // The loop stands still.
      co_await cancelled(context);
    }
    [[nodiscard]] std::string stack() const override { return "in take()"; }
    EventQueue& queue;
    std::vector<Event> told;
  };
  Blocks* service = nullptr;
  const RunId run = f.launch_service([&] {
    auto made = std::make_unique<Blocks>(*queue);
    service = made.get();
    return made;
  });
  f.turn_until([&] { return f.count(EventKind::loop_blocked) == 1; });
  REQUIRE(service->told.size() == 1);
  const auto& blocked = std::get<LoopBlocked>(service->told[0].payload);
  CHECK(service->told[0].path == f.path_of(run));
  CHECK(blocked.run == run);
  CHECK(blocked.duration >= 10ms);
  CHECK(blocked.stack == "in take()");
  REQUIRE(f.executor.loop_lag() != nullptr);
  f.turn_until([&] { return f.executor.loop_lag()->max() >= 10ms; });
}

TEST_CASE("a service that keeps the loop beyond its limit is interrupted, and ended") {
  AsyncFixture f({.grace = 5ms, .blocked_after = 5ms});
  f.spec.liveness = LoopLagLiveness{20ms};
  struct Hangs final : Service {
    Task<> run_async(ServiceContext& context) override {
      co_await next_turn(context);
      interrupted.wait(false);  // The loop stands still until somebody interrupts.
      co_await ignores_its_stop(context);
    }
    void interrupt() override {
      interrupted = true;
      interrupted.notify_all();
    }
    std::atomic<bool> interrupted{false};
  };
  const RunId run = f.launch_service([] { return std::make_unique<Hangs>(); });
  const ExitReason reason = f.end_of(run);
  CHECK(reason.kind == ExitKind::liveness_timeout);
  CHECK(reason.detail.find("kept the loop for") != std::string::npos);
  CHECK(f.count(EventKind::service_unresponsive) == 1);
}

// ---- Many ----

TEST_CASE_FIXTURE(AsyncFixture, "a storm of a hundred thousand restarts leaves memory as it was") {
  std::uint64_t left = 100'000;
  on_end = [&] {
    if (--left > 0) launch(throws_later);
  };
  keep_ends = false;
  launch(throws_later);
  turn_until([&] { return left <= 90'000; });
  const std::size_t early = bytes_in_use();
  // Seconds; minutes under a sanitizer on a busy machine.
  turn_until([&] { return left == 0; }, 4min);
  CHECK(executor.running() == 0);
  CHECK(bytes_in_use() <= early + (64 << 10));
}

TEST_CASE_FIXTURE(AsyncFixture, "ten thousand services stop together, each as a shutdown") {
  std::vector<RunId> runs;
  for (int i = 0; i < 10'000; ++i) runs.push_back(launch(sleeps_until_cancelled));
  CHECK(executor.running() == 10'000);
  for (const RunId run : runs) executor.request_stop(run);
  turn_until([&] { return ends.size() == runs.size(); });
  bool all_shut_down = true;
  for (const auto& [run, reason] : ends) {
    all_shut_down = all_shut_down && reason.kind == ExitKind::shutdown;
  }
  CHECK(all_shut_down);
}

}  // namespace
}  // namespace unirun
