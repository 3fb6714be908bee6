#include "framework/timer_queue.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "framework/random.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;
constexpr Instant start{};

TEST_CASE("a million timers started and cancelled leave no memory behind") {
  TimerQueue queue;
  std::vector<TimerId> living;
  for (int i = 0; i < 100; ++i) living.push_back(queue.start(start + 1h, [] {}));
  std::size_t most = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    queue.cancel(queue.start(start + 1s + 1ns * (i % 1'000), [] {}));
    most = std::max(most, queue.capacity());
  }
  CHECK(queue.size() == 100);
  CHECK(most < 2'000);
  CHECK(queue.next_deadline() == start + 1h);  // No cancelled one stands in front.
}

TEST_CASE("a burst of a hundred thousand, cancelled in any order, ends empty") {
  Random random(7);
  TimerQueue queue;
  std::vector<TimerId> ids;
  for (int i = 0; i < 100'000; ++i) {
    ids.push_back(
        queue.start(start + Duration{static_cast<std::int64_t>(random.below(1'000'000))}, [] {}));
  }
  for (std::size_t i = ids.size(); i > 1; --i) std::swap(ids[i - 1], ids[random.below(i)]);
  for (const TimerId id : ids) queue.cancel(id);
  CHECK(queue.size() == 0);
  CHECK(queue.next_deadline() == Instant::max());
  CHECK(queue.take_due(Instant::max()) == TimerId::none);
}

TEST_CASE("a timer at the end of time is kept, counts for nothing, and never fires") {
  TimerQueue queue;
  const TimerId never = queue.start(Instant::max(), [] {});
  CHECK(queue.next_deadline() == Instant::max());
  CHECK(queue.take_due(Instant::max()) == TimerId::none);
  queue.cancel(never);
  CHECK(queue.size() == 0);
}

TEST_CASE("a timer's function is gone when it is cancelled, and may cancel others as it goes") {
  struct CancelsAnother {
    TimerQueue& queue;
    TimerId other;
    CancelsAnother(TimerQueue& a_queue, TimerId an_other) : queue(a_queue), other(an_other) {}
    CancelsAnother(const CancelsAnother&) = delete;
    CancelsAnother& operator=(const CancelsAnother&) = delete;
    ~CancelsAnother() { queue.cancel(other); }
  };
  TimerQueue queue;
  const TimerId other = queue.start(start + 2s, [] {});
  auto owner = std::make_shared<CancelsAnother>(queue, other);
  const TimerId timer = queue.start(start + 1s, [held = std::move(owner)] {});
  queue.cancel(timer);
  CHECK(queue.size() == 0);
}

TEST_CASE("random starts, cancels and advances agree with a sorted list, whatever the seed") {
  struct Expected {
    Instant deadline;
    int number;
    TimerId id;
  };
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    TimerQueue queue;
    std::vector<Expected> model;  // In the order of starting.
    std::vector<int> fired, expected;
    Instant now = start;
    for (int step = 0; step < 500; ++step) {
      const std::uint64_t dice = random.below(10);
      if (dice < 5) {
        const Instant deadline = now + 1ms * static_cast<int>(random.below(20));
        model.push_back(
            {deadline, step, queue.start(deadline, [&, step] { fired.push_back(step); })});
      } else if (dice < 8 && !model.empty()) {
        const std::size_t index = random.below(model.size());
        queue.cancel(model[index].id);
        model.erase(model.begin() + static_cast<std::ptrdiff_t>(index));
      } else {
        now += 1ms * static_cast<int>(random.below(5));
        for (TimerId id; (id = queue.take_due(now)) != TimerId::none;) queue.claim(id)();
        std::stable_sort(model.begin(), model.end(), [](const Expected& a, const Expected& b) {
          return a.deadline < b.deadline;
        });
        while (!model.empty() && model.front().deadline <= now) {
          expected.push_back(model.front().number);
          model.erase(model.begin());
        }
        std::sort(model.begin(), model.end(),
                  [](const Expected& a, const Expected& b) { return a.number < b.number; });
      }
      REQUIRE(queue.size() == model.size());
    }
    CHECK(fired == expected);
  }
}

}  // namespace
}  // namespace unirun
