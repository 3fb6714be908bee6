#include "framework/simulated_time.h"

#include <doctest/doctest.h>

#include <string>

namespace unirun {
namespace {

using namespace std::chrono_literals;

TEST_CASE("simulated time stands still until it is advanced, and then fires each at its instant") {
  SimulatedTime time;
  const Instant start = time.now();
  std::string order;
  for (const int ms : {30, 10, 20}) {
    (void)time.start_timer(start + 1ms * ms, [&, ms] {
      CHECK(time.now() == start + 1ms * ms);
      order += std::to_string(ms) + " ";
    });
  }
  CHECK(time.pending() == 3);
  CHECK(time.next_deadline() == start + 10ms);
  time.advance(20ms);
  CHECK(order == "10 20 ");
  CHECK(time.now() == start + 20ms);
  CHECK(time.pending() == 1);
  time.advance(1h);
  CHECK(order == "10 20 30 ");
  CHECK(time.now() == start + 20ms + 1h);
}

TEST_CASE("equal instants fire in the order they were set, those set meanwhile after them") {
  SimulatedTime time;
  std::string order;
  (void)time.start_timer(time.now() + 1s, [&] {
    order += 'a';
    (void)time.start_timer(time.now(), [&] { order += 'c'; });
  });
  (void)time.start_timer(time.now() + 1s, [&] { order += 'b'; });
  time.advance(1s);
  CHECK(order == "abc");
}

TEST_CASE("fire_next goes to one deadline at a time and says when there is none") {
  SimulatedTime time;
  const Instant start = time.now();
  int fired = 0;
  (void)time.start_timer(start + 5s, [&] { ++fired; });
  (void)time.start_timer(start + 5s, [&] { ++fired; });
  (void)time.start_timer(Instant::max(), [&] { fired += 100; });
  CHECK(time.fire_next());
  CHECK(fired == 1);
  CHECK(time.now() == start + 5s);
  CHECK(time.fire_next());
  CHECK_FALSE(time.fire_next());
  CHECK(fired == 2);
}

TEST_CASE("a late timer fires now: time does not go back") {
  SimulatedTime time;
  time.advance(10s);
  const Instant now = time.now();
  bool fired = false;
  (void)time.start_timer(now - 5s, [&] { fired = true; });
  CHECK_FALSE(fired);
  time.advance(0s);
  CHECK(fired);
  CHECK(time.now() == now);
}

TEST_CASE("a cancelled simulated timer does not fire") {
  SimulatedTime time;
  bool fired = false;
  const TimerId timer = time.start_timer(time.now() + 1s, [&] { fired = true; });
  time.cancel_timer(timer);
  time.cancel_timer(timer);
  time.advance(2s);
  CHECK_FALSE(fired);
}

TEST_CASE("the wall clock runs with simulated time, and jumps without it") {
  SimulatedTime time;
  const WallTime wall = time.wall_now();
  const Instant now = time.now();
  time.jump_wall_clock(-24h);
  CHECK(time.now() == now);
  time.advance(1h);
  CHECK(time.wall_now() == wall - 23h);
}

}  // namespace
}  // namespace unirun
