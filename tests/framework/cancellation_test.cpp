#include "framework/cancellation.h"

#include <doctest/doctest.h>
#include <algorithm>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "framework/clock.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a token hears its source, once and for good") {
  CancellationSource source;
  const CancellationToken token = source.token();
  CHECK_FALSE(token.is_cancellation_requested());
  CHECK_NOTHROW(token.raise_if_cancelled());
  CHECK_FALSE(token.wait(0s));
  source.request_cancellation();
  source.request_cancellation();
  CHECK(token.is_cancellation_requested());
  CHECK(source.is_cancellation_requested());
  CHECK(token.wait(1h));
  CHECK_THROWS_AS(token.raise_if_cancelled(), Cancelled);
}

TEST_CASE("a token without a source is never cancelled, and waits its time") {
  const CancellationToken token;
  const SystemClock clock;
  const Instant begin = clock.now();
  CHECK_FALSE(token.wait(10ms));
  CHECK(clock.now() - begin >= 10ms);
  CHECK_FALSE(token.is_cancellation_requested());
  bool called = false;
  {
    const Registration none = token.on_cancel([&] { called = true; });
  }
  CHECK_FALSE(called);
}

TEST_CASE("a token outlives its source") {
  std::optional<CancellationSource> source(std::in_place);
  const CancellationToken token = source->token();
  source.reset();
  CHECK_FALSE(token.is_cancellation_requested());
}

TEST_CASE("a request wakes every thread that waits") {
  CancellationSource source;
  std::atomic<int> woken{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&, token = source.token()] { woken += token.wait(1h) ? 1 : 100; });
  }
  source.request_cancellation();
  for (auto& waiter : waiters) waiter.join();
  CHECK(woken == 4);
}

TEST_CASE("callbacks run once, in the order of registration, unless they were ended") {
  CancellationSource source;
  std::string order;
  const auto a = source.token().on_cancel([&] { order += 'a'; });
  auto b = source.token().on_cancel([&] { order += 'b'; });
  const auto c = source.token().on_cancel([&] { order += 'c'; });
  b.reset();
  source.request_cancellation();
  CHECK(order == "ac");
  const auto late = source.token().on_cancel([&] { order += 'd'; });
  CHECK(order == "acd");  // Here and now.
  source.request_cancellation();
  CHECK(order == "acd");
}

TEST_CASE("a callback may end itself, the next one, or let go of the source") {
  auto source = std::make_unique<CancellationSource>();
  CancellationSource* raw = source.get();
  Registration self, next;
  int calls = 0;
  self = source->token().on_cancel([&] {
    ++calls;
    self.reset();
    next.reset();
    source.reset();
  });
  next = source->token().on_cancel([&] { calls += 100; });
  raw->request_cancellation();
  CHECK(calls == 1);
}

TEST_CASE("a callback that registers another one has it called at once") {
  CancellationSource source;
  std::string order;
  Registration inner;
  const auto outer = source.token().on_cancel([&] {
    inner = source.token().on_cancel([&] { order += "inner "; });
    order += "outer";
  });
  source.request_cancellation();
  CHECK(order == "inner outer");
}

TEST_CASE("when a registration has ended, its callback neither runs nor will run") {
  for (int round = 0; round < 500; ++round) {
    CancellationSource source;
    std::atomic<bool> ended{false}, ran_late{false};
    auto registration = source.token().on_cancel([&] {
      if (ended) ran_late = true;
    });
    std::thread requester([&] { source.request_cancellation(); });
    registration.reset();
    ended = true;
    requester.join();
    CHECK_FALSE(ran_late);
  }
}

}  // namespace

TEST_CASE("many registrations end in whatever order, and the rest is called in the order of old") {
  constexpr std::size_t count = 50'000;
  CancellationSource source;
  std::vector<std::size_t> called;
  std::vector<Registration> registrations;
  for (std::size_t number = 0; number < count; ++number) {
    registrations.push_back(source.token().on_cancel([&, number] { called.push_back(number); }));
  }
  for (const bool odd_half : {true, false}) {  // From the end, then from the beginning.
    for (std::size_t step = 0; step < count; ++step) {
      const std::size_t number = odd_half ? count - 1 - step : step;
      if (number % 4 == (odd_half ? 1 : 2)) registrations[number].reset();
    }
  }
  source.request_cancellation();
  CHECK(called.size() == count / 2);
  CHECK(std::is_sorted(called.begin(), called.end()));
  for (const std::size_t number : called) REQUIRE(number % 4 % 3 == 0);
}

}  // namespace unirun
