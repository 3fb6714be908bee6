#include "framework/inbox.h"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "framework/doorbell.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

TEST_CASE("an inbox gives back oldest first, and tells who was first in an empty one") {
  Inbox<int> inbox;
  CHECK(inbox.push(1));
  CHECK_FALSE(inbox.push(2));
  CHECK_FALSE(inbox.push(3));
  std::vector<int> taken;
  CHECK(inbox.drain([&](int value) { taken.push_back(value); }) == 3);
  CHECK(taken == std::vector{1, 2, 3});
  CHECK(inbox.drain([](int) {}) == 0);
  CHECK(inbox.push(4));
}

TEST_CASE("what is pushed while draining waits for the next drain") {
  Inbox<int> inbox;
  inbox.push(1);
  CHECK(inbox.drain([&](int) { inbox.push(2); }) == 1);
  CHECK(inbox.drain([](int value) { CHECK(value == 2); }) == 1);
}

TEST_CASE("an inbox frees what was never taken") {
  const auto held = std::make_shared<int>();
  {
    Inbox<std::shared_ptr<int>> inbox;
    inbox.push(held);
    inbox.push(held);
  }
  CHECK(held.use_count() == 1);
}

TEST_CASE("a burst from four threads is announced whenever the inbox was empty, and never lost") {
  constexpr int threads = 4, values = 50'000;
  Inbox<int> inbox;
  Doorbell bell;
  std::atomic<int> announced{0};
  std::vector<std::thread> pushers;
  for (int t = 0; t < threads; ++t) {
    pushers.emplace_back([&, t] {
      for (int i = 0; i < values; ++i) {
        if (inbox.push(t * values + i)) {
          announced.fetch_add(1);
          bell.ring();
        }
      }
    });
  }
  std::vector<int> last(threads, -1);
  int taken = 0, drains = 0;
  bool in_order = true;
  while (taken < threads * values) {
    std::size_t count = 0;
    const bool rang = bell.wait(60s, [&] {
      count = inbox.drain([&](int value) {
        in_order = in_order && last[value / values] < value;
        last[value / values] = value;
      });
      return count > 0;
    });
    REQUIRE(rang);  // A lost wake would end the test here.
    taken += static_cast<int>(count);
    ++drains;
  }
  for (auto& pusher : pushers) pusher.join();
  CHECK(in_order);
  CHECK(announced == drains);
}

TEST_CASE("a doorbell waits its time and says that nothing came") {
  const Doorbell bell;
  const SystemClock clock;
  const Instant begin = clock.now();
  CHECK_FALSE(bell.wait(10ms, [] { return false; }));
  CHECK(clock.now() - begin >= 10ms);
  CHECK(bell.wait(0s, [] { return true; }));
  CHECK_FALSE(bell.wait(-1s, [] { return false; }));
}

}  // namespace
}  // namespace unirun
