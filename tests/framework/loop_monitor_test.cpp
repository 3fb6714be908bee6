#include "framework/loop_monitor.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "framework/clock.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

struct Occupant final : LoopOccupant {
  [[nodiscard]] RunId run() const override { return RunId{7}; }
  [[nodiscard]] std::string path() const override { return "tree/slow"; }
  [[nodiscard]] std::string stack() const override { return {}; }
};

// What a monitor has told, for the blocked loop to wait on.
struct Told {
  void operator()(const std::shared_ptr<LoopOccupant>& occupant, Duration duration, bool first) {
    const std::lock_guard lock(mutex);
    if (first) ++firsts;
    latest = duration;
    who = occupant ? occupant->path() : "nobody";
    bell.ring();
  }
  [[nodiscard]] bool wait_for(Duration least) {
    return bell.wait(20s, [&] {
      const std::lock_guard lock(mutex);
      return latest >= least;
    });
  }
  std::mutex mutex;
  Doorbell bell;
  int firsts = 0;
  Duration latest{};
  std::string who;
};

struct Fixture {
  SystemClock clock;
  EventLoop loop{clock};
  Told told;

  LoopMonitor::OnBlocked on_blocked() {
    return [this](const auto& who, Duration duration, bool first) { told(who, duration, first); };
  }
  void run(std::function<void()> work) {
    loop.post([this, work = std::move(work)] {
      work();
      loop.stop();
    });
    loop.run();
  }
};

TEST_CASE_FIXTURE(Fixture,
                  "who blocks the loop is named while it does, once, with the time so far") {
  LoopMonitor monitor(loop, 10ms, on_blocked());
  const auto occupant = std::make_shared<Occupant>();
  bool heard = false;
  run([&] {
    const LoopSeat::Taken seat(loop.seat(), occupant);
    heard = told.wait_for(30ms);  // Nobody else can tell: the loop stands still right here.
  });
  CHECK(heard);
  CHECK(told.firsts == 1);
  CHECK(told.who == "tree/slow");
  CHECK(monitor.lag().max() >= 30ms);
  // Comes back to the loop, by a post of the monitor's thread, which may be late.
  for (int turn = 0; turn < 10'000 && occupant.use_count() > 1; ++turn) {
    run([] {});
    std::this_thread::yield();
  }
  CHECK(occupant.use_count() == 1);
}

TEST_CASE_FIXTURE(Fixture, "a loop that is blocked by nobody in particular is told too") {
  LoopMonitor monitor(loop, 10ms, on_blocked());
  run([&] { CHECK(told.wait_for(10ms)); });
  CHECK(told.who == "nobody");
}

TEST_CASE_FIXTURE(Fixture, "a service that blocks before the loop runs is told too") {
  const LoopSeat::Taken seat(loop.seat(), std::make_shared<Occupant>());
  LoopMonitor monitor(loop, 10ms, on_blocked());
  CHECK(told.wait_for(10ms));
  CHECK(told.who == "tree/slow");
}

TEST_CASE_FIXTURE(Fixture, "a busy loop whose services take turns is not called blocked") {
  const auto occupant = std::make_shared<Occupant>();
  // A machine that takes the thread away for as long makes a turn that long: nothing to see; again.
  const Instant limit = clock.now() + 20s;
  Duration longest_turn = Duration::max();
  while (longest_turn >= 40ms && clock.now() < limit) {
    told.firsts = 0;
    longest_turn = Duration::zero();
    LoopMonitor monitor(loop, 40ms, on_blocked());
    run([&] {
      const Instant begin = clock.now();  // The turn has begun, and is longer by this.
      for (Instant last = begin, now = begin; now < begin + 200ms; last = now) {
        const LoopSeat::Taken seat(loop.seat(), occupant);
        now = clock.now();
        longest_turn = std::max(longest_turn, now - last);
      }
    });
    CHECK(monitor.lag().max() >= 200ms);  // But it is late for everybody.
  }
  CHECK(longest_turn < 40ms);
  CHECK(told.firsts == 0);
}

long wake_ups_of_other_threads() {
  rusage all{};
  rusage own{};
  getrusage(RUSAGE_SELF, &all);
  getrusage(RUSAGE_THREAD, &own);
  return all.ru_nvcsw - own.ru_nvcsw;
}

TEST_CASE_FIXTURE(Fixture, "a monitor sleeps as long as its loop waits, and wakes with it") {
  LoopMonitor monitor(loop, 2ms, on_blocked());
  run([] {});
  // Until it has parked: no wake-ups over a time in which it would otherwise look fifty times.
  const Instant limit = clock.now() + 20s;
  long during = 1;
  while (during != 0 && clock.now() < limit) {
    const long before = wake_ups_of_other_threads();
    const TimerId timer = loop.start_timer(clock.now() + 50ms, [this] { loop.stop(); });
    loop.run();
    loop.cancel_timer(timer);
    // The turn of the timer itself wakes it: that one may count.
    during = std::max(wake_ups_of_other_threads() - before - 3, 0L);
  }
  CHECK(during == 0);
  run([&] { CHECK(told.wait_for(2ms)); });
  CHECK(told.firsts == 1);
}

TEST_CASE("a histogram of lags knows its quantiles within a quarter, whatever the seed") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 chance(seed);
    LagHistogram lags;
    std::vector<Duration> all;
    for (int i = 0; i < 1000; ++i) {
      const Duration lag{static_cast<Duration::rep>(chance() >> (20 + chance() % 40))};
      all.push_back(lag);
      lags.record(lag);
    }
    std::sort(all.begin(), all.end());
    CHECK(lags.count() == 1000);
    CHECK(lags.max() == all.back());
    for (const double share : {0.01, 0.5, 0.99, 1.0}) {
      const Duration exact = all[static_cast<std::size_t>(share * 1000) - 1];
      CHECK(lags.quantile(share) >= exact);
      CHECK(lags.quantile(share) <= exact + exact / 4 + Duration{1});
    }
  }
}

TEST_CASE("a histogram of nothing is zero, and takes the extremes") {
  LagHistogram lags;
  CHECK(lags.quantile(0.99) == Duration::zero());
  lags.record(Duration{-5});
  CHECK(lags.max() == Duration::zero());
  lags.record(Duration::max());
  CHECK(lags.quantile(1.0) == Duration::max());
}

}  // namespace
}  // namespace unirun
