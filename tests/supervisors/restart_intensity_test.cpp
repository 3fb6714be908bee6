#include "supervisors/restart_intensity.h"

#include <doctest/doctest.h>

namespace unirun {
namespace {

using namespace std::chrono_literals;
using Verdict = RestartIntensity::Verdict;
constexpr Instant start{};  // Any instant will do: only differences matter.

}  // namespace

TEST_CASE("item 17: counts a restart exactly one period old and forgets it a nanosecond later") {
  RestartIntensity intensity({1, 10s});
  REQUIRE(intensity.record(start) == Verdict::restart);
  SUBCASE("on the edge") { CHECK(intensity.record(start + 10s) == Verdict::give_up); }
  SUBCASE("past the edge") { CHECK(intensity.record(start + 10s + 1ns) == Verdict::restart); }
}

TEST_CASE("item 17: intensity N allows N, and the next one is too many") {
  RestartIntensity intensity({3, 10s});
  for (int i = 0; i < 3; ++i) CHECK(intensity.record(start) == Verdict::restart);
  CHECK(intensity.record(start) == Verdict::give_up);
}

TEST_CASE("item 17: intensity 0 gives up at the first") {
  RestartIntensity intensity({0, 10s});
  CHECK(intensity.record(start) == Verdict::give_up);
}

TEST_CASE("a window is bounded by its limit, whoever goes on asking") {
  RestartIntensity intensity({2, 10s});
  for (int i = 0; i < 1000; ++i) static_cast<void>(intensity.record(start));
  CHECK(intensity.recent(start) == 3);
  CHECK(intensity.recent(start + 10s + 1ns) == 0);
}

}  // namespace unirun
