#include "framework/random.h"

#include <doctest/doctest.h>

#include <array>

namespace unirun {
namespace {

TEST_CASE("a seed means the same numbers everywhere") {
  Random random(1234567);  // SplitMix64's published reference values.
  CHECK(random.next() == 6457827717110365317u);
  CHECK(random.next() == 3203168211198807973u);
  CHECK(random.next() == 9817491932198370423u);
}

TEST_CASE("a copy goes on with the same numbers") {
  Random one(5);
  (void)one.next();
  Random two = one;
  CHECK(one.next() == two.next());
}

TEST_CASE("below stays below and reaches all, unit stays below one") {
  Random random(42);
  std::array<int, 6> counts{};
  for (int i = 0; i < 60'000; ++i) ++counts[random.below(6)];
  for (const int count : counts) CHECK(count > 9'000);
  CHECK(random.below(1) == 0);
  for (int i = 0; i < 10'000; ++i) {
    const double unit = random.unit();
    CHECK(unit >= 0.0);
    CHECK(unit < 1.0);
  }
  CHECK_FALSE(random.chance(0.0));
  CHECK(random.chance(1.0));
}

TEST_CASE("two seeds of the system differ") {
  CHECK(Random::system_seed() != Random::system_seed());
}

}  // namespace
}  // namespace unirun
