#include "supervisors/backoff.h"

#include <doctest/doctest.h>

#include <limits>

namespace unirun {
namespace {

using namespace std::chrono_literals;

Duration delay(Backoff::Kind kind, std::uint64_t failures, double jitter = 0.0) {
  Random random(7);
  Backoff::Limits limits;
  limits.kind = kind;
  limits.initial = 100ms;
  limits.max = 1s;
  limits.factor = 2.0;
  limits.jitter = jitter;
  return Backoff::delay(limits, failures, random);
}

}  // namespace

TEST_CASE("backoff: each kind grows as it says, and none above max") {
  using Kind = Backoff::Kind;
  CHECK(delay(Kind::immediate, 1) == 0ns);
  CHECK(delay(Kind::immediate, 1'000) == 0ns);
  CHECK(delay(Kind::fixed, 1) == 100ms);
  CHECK(delay(Kind::fixed, 50) == 100ms);
  CHECK(delay(Kind::linear, 1) == 100ms);
  CHECK(delay(Kind::linear, 3) == 300ms);
  CHECK(delay(Kind::linear, 30) == 1s);
  CHECK(delay(Kind::exponential, 1) == 100ms);
  CHECK(delay(Kind::exponential, 4) == 800ms);
  CHECK(delay(Kind::exponential, 5) == 1s);
}

TEST_CASE("backoff: no count of failures overflows") {
  const auto most = std::numeric_limits<std::uint64_t>::max();
  CHECK(delay(Backoff::Kind::exponential, most) == 1s);
  CHECK(delay(Backoff::Kind::linear, most) == 1s);
  Random random(1);
  Backoff::Limits longest;
  longest.kind = Backoff::Kind::exponential;
  longest.initial = longest.max = Duration::max();
  CHECK(Backoff::delay(longest, most, random) == Duration::max());
  longest.initial = 0ns;
  CHECK(Backoff::delay(longest, most, random) == 0ns);
}

TEST_CASE("backoff: jitter 1 draws from all of the delay, jitter 0.2 from its last fifth") {
  Random random(42);
  Backoff::Limits limits;
  limits.kind = Backoff::Kind::fixed;
  limits.initial = 100ms;
  for (const double jitter : {1.0, 0.2}) {
    limits.jitter = jitter;
    Duration least = 1h;
    Duration most{};
    for (int i = 0; i < 10'000; ++i) {
      const Duration drawn = Backoff::delay(limits, 1, random);
      least = std::min(least, drawn);
      most = std::max(most, drawn);
    }
    CAPTURE(jitter);
    CHECK(most <= 100ms);
    CHECK(most > 99ms);
    CHECK(static_cast<double>(least.count()) >= 1e8 * (1.0 - jitter));
    CHECK(static_cast<double>(least.count()) < 1e8 * (1.0 - jitter) + 1e6);
  }
}

}  // namespace unirun
