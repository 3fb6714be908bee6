#include "framework/event_loop.h"

#include <doctest/doctest.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace unirun {
namespace {

using namespace std::chrono_literals;

struct Fixture {
  SystemClock clock;
  EventLoop loop{clock};

  // The loop's own clock ends a test that would hang.
  void run_at_most(Duration limit = 20s) {
    const TimerId guard = loop.start_timer(clock.now() + limit, [this] {
      overdue = true;
      loop.stop();
    });
    loop.run();
    loop.cancel_timer(guard);
    CHECK_FALSE(overdue);
  }
  bool overdue = false;
};

// An eventfd is the smallest descriptor that can be made ready at will.
class Descriptor {
 public:
  explicit Descriptor(unsigned count = 0) : number_(eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK)) {
    REQUIRE(number_ >= 0);
  }
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int number() const { return number_; }
  void close() {
    if (number_ >= 0) ::close(std::exchange(number_, -1));
  }

 private:
  int number_;
};

TEST_CASE_FIXTURE(Fixture, "timers fire in the order of their deadlines, equal ones as started") {
  const Instant start = clock.now();
  std::string order;
  const auto at = [&](Duration after, char letter) {
    (void)loop.start_timer(start + after, [&order, letter] { order += letter; });
  };
  at(3ms, 'd');
  at(2ms, 'b');
  at(2ms, 'c');
  at(1ms, 'a');
  (void)loop.start_timer(start + 4ms, [&] { loop.stop(); });
  run_at_most();
  CHECK(order == "abcd");
}

TEST_CASE_FIXTURE(Fixture, "a timer is never early, not by a nanosecond") {
  int left = 200;
  for (int i = 0; i < 200; ++i) {
    const Instant deadline = clock.now() + 1us * (i * 37) + 1ns * i;
    (void)loop.start_timer(deadline, [&, deadline] {
      CHECK(clock.now() >= deadline);
      if (--left == 0) loop.stop();
    });
  }
  run_at_most();
  CHECK(left == 0);
}

TEST_CASE_FIXTURE(Fixture, "a timer that is past fires in the next turn, not in this one") {
  std::string order;
  (void)loop.start_timer(Instant{}, [&] {
    (void)loop.start_timer(Instant{}, [&] { order += "inner"; });
    order += "outer ";
  });
  loop.run_ready();
  CHECK(order == "outer ");
  loop.run_ready();
  CHECK(order == "outer inner");
}

TEST_CASE_FIXTURE(Fixture, "a due timer that another due timer cancels does not fire") {
  bool fired = false;
  TimerId second = TimerId::none;
  (void)loop.start_timer(Instant{}, [&] { loop.cancel_timer(second); });
  second = loop.start_timer(Instant{}, [&] { fired = true; });
  loop.run_ready();
  loop.run_ready();
  CHECK_FALSE(fired);
}

TEST_CASE_FIXTURE(Fixture, "cancelling a fired timer, or none, does nothing") {
  const TimerId timer = loop.start_timer(Instant{}, [] {});
  loop.run_ready();
  bool fired = false;
  (void)loop.start_timer(Instant{}, [&] { fired = true; });  // May live in the same place.
  loop.cancel_timer(timer);
  loop.cancel_timer(TimerId::none);
  loop.run_ready();
  CHECK(fired);
}

TEST_CASE_FIXTURE(Fixture, "posts from eight threads arrive whole, each thread's in its order") {
  constexpr int threads = 8, posts = 20'000;
  std::vector<int> last(threads, -1);
  bool in_order = true;
  int arrived = 0;
  std::vector<std::thread> posters;
  for (int t = 0; t < threads; ++t) {
    posters.emplace_back([&, t] {
      for (int i = 0; i < posts; ++i) {
        loop.post([&, t, i] {
          in_order = in_order && last[t] == i - 1 && loop.in_loop_thread();
          last[t] = i;
          if (++arrived == threads * posts) loop.stop();
        });
      }
    });
  }
  run_at_most(120s);
  for (auto& poster : posters) poster.join();
  CHECK(arrived == threads * posts);
  CHECK(in_order);
}

TEST_CASE_FIXTURE(Fixture, "stop lets what was posted before it run first") {
  int ran = 0;
  for (int i = 0; i < 10; ++i) loop.post([&] { ++ran; });
  loop.stop();
  run_at_most();
  CHECK(ran == 10);
}

TEST_CASE_FIXTURE(Fixture, "a watch may end itself from within its own callback") {
  Descriptor descriptor{1};
  int calls = 0;
  Watch watch;
  const auto held = std::make_shared<int>(7);
  watch = loop.watch(descriptor.number(), Interest::readable, [&, held](Interest seen) {
    CHECK(seen == Interest::readable);
    watch.reset();
    ++calls;
    CHECK(*held == 7);  // What the callback holds outlives the call.
  });
  for (int i = 0; i < 3; ++i) loop.run_ready();
  CHECK(calls == 1);
  CHECK(held.use_count() == 1);
}

TEST_CASE_FIXTURE(Fixture, "a descriptor may be closed as soon as its watch has ended") {
  // The number is taken again in the same turn, as happens with pidfds under a burst of deaths.
  int calls = 0;
  for (int round = 0; round < 50; ++round) {
    auto first = std::make_unique<Descriptor>(1);
    const int number = first->number();
    std::unique_ptr<Descriptor> second;
    Watch watch;
    watch = loop.watch(number, Interest::readable, [&](Interest) {
      watch.reset();
      first.reset();
      second = std::make_unique<Descriptor>(1);
      REQUIRE(second->number() == number);
      watch = loop.watch(number, Interest::readable, [&](Interest) {
        ++calls;
        watch.reset();
      });
    });
    for (int i = 0; i < 4; ++i) loop.run_ready();
  }
  CHECK(calls == 50);
}

TEST_CASE_FIXTURE(Fixture, "of two ready watches, the first may end the second") {
  Descriptor a{1}, b{1};
  int calls = 0;
  Watch watch_a, watch_b;
  watch_a = loop.watch(a.number(), Interest::readable, [&](Interest) {
    ++calls;
    watch_a.reset();
    watch_b.reset();
  });
  watch_b = loop.watch(b.number(), Interest::readable, [&](Interest) {
    ++calls;
    watch_a.reset();
    watch_b.reset();
  });
  for (int i = 0; i < 3; ++i) loop.run_ready();
  CHECK(calls == 1);
}

TEST_CASE_FIXTURE(Fixture,
                  "an error on a descriptor is told as ready, again until the watch ends") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  close(ends[0]);  // A pipe without a reader: POLLERR on the writing end.
  int calls = 0;
  Watch watch = loop.watch(ends[1], Interest::writable, [&](Interest seen) {
    CHECK(seen == Interest::writable);
    if (++calls == 3) watch.reset();
  });
  for (int i = 0; i < 6; ++i) loop.run_ready();
  CHECK(calls == 3);
  close(ends[1]);
}

TEST_CASE_FIXTURE(Fixture, "a pidfd is ready when its process has ended") {
  pid_t pid = 0;
  char name[] = "true";
  char* argv[] = {name, nullptr};
  REQUIRE(posix_spawnp(&pid, name, nullptr, nullptr, argv, environ) == 0);
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  REQUIRE(pidfd >= 0);
  Watch watch = loop.watch(pidfd, Interest::readable, [&](Interest) {
    watch.reset();
    ::close(pidfd);
    CHECK(waitpid(pid, nullptr, WNOHANG) == pid);
    loop.stop();
  });
  run_at_most();
}

TEST_CASE_FIXTURE(Fixture, "a loop that waits is not woken: not by what is idle, nor cancelled") {
  Descriptor quiet;
  const Watch watch = loop.watch(quiet.number(), Interest::readable, [](Interest) {});
  const Watch signal = loop.watch_signal(SIGUSR1, [] {});
  const TimerId far = loop.start_timer(clock.now() + 1h, [] {});
  for (int i = 0; i < 50; ++i) loop.cancel_timer(loop.start_timer(clock.now() + 1ms * i, [] {}));
  loop.run_ready();
  rusage before{}, after{};
  getrusage(RUSAGE_THREAD, &before);
  (void)loop.start_timer(clock.now() + 100ms, [&] {
    getrusage(RUSAGE_THREAD, &after);
    loop.stop();
  });
  run_at_most();
  loop.cancel_timer(far);
  CHECK(after.ru_nvcsw - before.ru_nvcsw <= 2);  // To sleep, and again if woken a hair early.
}

TEST_CASE_FIXTURE(Fixture, "a signal reaches every watch of it, and none after its end") {
  int first = 0, second = 0;
  Watch one = loop.watch_signal(SIGUSR1, [&] { ++first; });
  Watch two = loop.watch_signal(SIGUSR1, [&] { ++second; });
  raise(SIGUSR1);
  for (int i = 0; i < 3; ++i) loop.run_ready();
  one.reset();
  raise(SIGUSR1);
  for (int i = 0; i < 3; ++i) loop.run_ready();
  CHECK(first == 1);
  CHECK(second == 2);
}

TEST_CASE_FIXTURE(Fixture, "blocking work runs elsewhere and is done here") {
  bool elsewhere = false;
  loop.run_blocking([&] { elsewhere = !loop.in_loop_thread(); },
                    [&] {
                      CHECK(loop.in_loop_thread());
                      loop.stop();
                    });
  run_at_most();
  CHECK(elsewhere);
}

TEST_CASE("a loop that ends waits for running work and calls no `done`") {
  SystemClock clock;
  std::atomic<bool> finished{false}, told{false};
  {
    EventLoop loop(clock);
    std::atomic<bool> begun{false};
    loop.run_blocking(
        [&] {
          begun = true;
          begun.notify_one();
          finished = true;
        },
        [&] { told = true; });
    begun.wait(false);
  }
  CHECK(finished);
  CHECK_FALSE(told);
}

TEST_CASE("watches, timers and posts that outlive their loop fall silent") {
  SystemClock clock;
  Descriptor descriptor{1};
  Watch watch, signal;
  const auto held = std::make_shared<int>(0);
  {
    EventLoop loop(clock);
    watch = loop.watch(descriptor.number(), Interest::readable, [held](Interest) {});
    signal = loop.watch_signal(SIGUSR2, [held] {});
    (void)loop.start_timer(clock.now() + 1h, [held] {});
    loop.post([held] {});
    CHECK(held.use_count() == 5);
  }
  CHECK(held.use_count() == 1);
  watch.reset();
  signal.reset();
}

TEST_CASE_FIXTURE(Fixture, "what the loop posts to itself runs in turns, and starves no timer") {
  int rounds = 0;
  bool timer_fired = false;
  std::function<void()> again = [&] {
    ++rounds;
    if (!timer_fired) loop.post(again);
  };
  const TimerId timer = loop.start_timer(clock.now() + 5ms, [&] {
    timer_fired = true;
    loop.stop();
  });
  loop.post(again);
  run_at_most();
  loop.cancel_timer(timer);
  CHECK(timer_fired);
  CHECK(rounds > 1);
}

TEST_CASE_FIXTURE(Fixture, "posts of the loop thread and of another keep their own order") {
  std::vector<int> own;
  std::vector<int> foreign;
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) loop.post([&, i] { foreign.push_back(i); });
    loop.post([&] { loop.stop(); });
  });
  std::function<void()> next = [&] {
    own.push_back(static_cast<int>(own.size()));
    if (own.size() < 1000) loop.post(next);
  };
  loop.post(next);
  run_at_most();
  other.join();
  CHECK(std::is_sorted(foreign.begin(), foreign.end()));
  CHECK(foreign.size() == 1000);
  CHECK(std::is_sorted(own.begin(), own.end()));
}

struct CountedTurns final : TurnObserver {
  void on_turn_began() noexcept override { ++began; }
  void on_turn_ended() noexcept override { ++ended; }
  int began = 0;
  int ended = 0;
};

TEST_CASE_FIXTURE(Fixture, "a turn begins with the first callback and ends before the loop waits") {
  CountedTurns turns;
  loop.observe_turns(&turns);
  loop.post([&] { CHECK(turns.began == turns.ended + 1); });
  loop.run_ready();
  CHECK(turns.began >= 1);
  const int before = turns.began;
  const TimerId first = loop.start_timer(clock.now() + 2ms, [&] { CHECK(turns.began > before); });
  const TimerId last = loop.start_timer(clock.now() + 4ms, [&] { loop.stop(); });
  run_at_most();
  loop.cancel_timer(last);
  CHECK(turns.began - turns.ended <= 1);
  loop.cancel_timer(first);
  loop.observe_turns(nullptr);
}

TEST_CASE_FIXTURE(Fixture, "a descriptor that cannot be watched is an error that says why") {
  const auto nothing = [](Interest) {};
  CHECK_FALSE(loop.try_watch(-1, Interest::readable, nothing));
  const Descriptor descriptor;
  const Watch watch = loop.watch(descriptor.number(), Interest::readable, nothing);
  const Result<Watch> twice = loop.try_watch(descriptor.number(), Interest::readable, nothing);
  REQUIRE_FALSE(twice);
  CHECK(twice.error().message.find("one watch each") != std::string::npos);
}

// Timers would be a millisecond late with libuv's own; the half of them must be far better.
TEST_CASE_FIXTURE(Fixture, "timers are late by far less than a millisecond") {
  std::vector<Duration> lateness;
  std::function<void()> next = [&] {
    const Instant deadline = clock.now() + 700us;
    (void)loop.start_timer(deadline, [&, deadline] {
      lateness.push_back(clock.now() - deadline);
      if (lateness.size() == 51) return loop.stop();
      next();
    });
  };
  next();
  run_at_most();
  std::sort(lateness.begin(), lateness.end());
  CHECK(lateness.front() >= Duration::zero());
  CHECK(lateness[25] < 900us);  // On a machine that is busy with other things.
}

TEST_CASE_FIXTURE(Fixture, "a deadline that moves later or goes away rings no alarm for nothing") {
  CountedTurns turns;
  TimerId early = TimerId::none;
  (void)loop.start_timer(Instant{}, [&] { early = loop.start_timer(clock.now() + 5ms, [] {}); });
  (void)loop.start_timer(clock.now() + 1ms, [&] {  // By now the alarm is set for `early`.
    loop.cancel_timer(early);
    loop.observe_turns(&turns);
  });
  (void)loop.start_timer(clock.now() + 30ms, [&] { loop.stop(); });
  run_at_most();
  CHECK(turns.began <= 2);  // The end and the stop.
  loop.observe_turns(nullptr);
}

struct Guest final : TurnHook {
  AfterTurn before_wait() noexcept override { return on_turn(++turns); }
  std::function<AfterTurn(int)> on_turn;
  int turns = 0;
};

TEST_CASE_FIXTURE(Fixture, "a guest keeps the loop from waiting, and makes it leave") {
  Guest guest;
  guest.on_turn = [](int turn) { return turn < 100 ? AfterTurn::go_on : AfterTurn::leave; };
  loop.set_turn_hook(&guest);
  run_at_most();
  CHECK(guest.turns == 100);
  loop.set_turn_hook(nullptr);
}

TEST_CASE_FIXTURE(Fixture, "a guest that waits is woken by its timer and by other threads") {
  Guest guest;
  bool due = false;
  std::atomic<bool> called = false;
  guest.on_turn = [&](int turn) {
    if (turn == 1) (void)loop.start_timer(clock.now() + 1ms, [&] { due = true; });
    return due && called ? AfterTurn::leave : AfterTurn::wait;
  };
  loop.set_turn_hook(&guest);
  std::thread other([&] {
    called = true;
    loop.wake();
  });
  run_at_most();
  other.join();
  CHECK(due);
  loop.set_turn_hook(nullptr);
}

TEST_CASE_FIXTURE(Fixture,
                  "a guest that always goes on starves neither timers nor posts nor watches") {
  Guest guest;
  guest.on_turn = [](int) { return AfterTurn::go_on; };
  loop.set_turn_hook(&guest);
  const Descriptor descriptor(1);
  bool seen = false;
  bool posted = false;
  const Watch watch =
      loop.watch(descriptor.number(), Interest::readable, [&](Interest) { seen = true; });
  loop.post([&] { posted = true; });
  const TimerId timer = loop.start_timer(clock.now() + 3ms, [&] { loop.stop(); });
  run_at_most();
  CHECK(seen);
  CHECK(posted);
  loop.cancel_timer(timer);
  loop.set_turn_hook(nullptr);
}

}  // namespace
}  // namespace unirun
