#include "supervisors/backoff.h"

#include <algorithm>
#include <cmath>

#include "framework/require.h"

namespace unirun {
namespace {

// In floating point, because initial * factor^n leaves every integer behind soon.
double undisturbed_delay(const Backoff::Limits& limits, std::uint64_t failures) {
  const auto initial = static_cast<double>(limits.initial.count());
  const auto earlier = static_cast<double>(failures - 1);
  switch (limits.kind) {
    case Backoff::Kind::immediate: return 0.0;
    case Backoff::Kind::fixed: return initial;
    case Backoff::Kind::linear: return initial * (1.0 + earlier);
    case Backoff::Kind::exponential: return initial * std::pow(limits.factor, earlier);
  }
  unreachable();
}

}  // namespace

Duration Backoff::delay(const Limits& limits, std::uint64_t failures, Random& random) {
  UNIRUN_REQUIRE(failures > 0);
  if (limits.kind == Kind::immediate) return Duration::zero();
  const auto max = static_cast<double>(limits.max.count());
  // The ceiling comes before the jitter: at the ceiling, too, a herd must be spread. An initial of
  // 0 times infinity is not a number, and std::min then keeps `max` out of the comparison.
  const double wanted = undisturbed_delay(limits, failures);
  const double ceiling = std::isnan(wanted) ? 0.0 : std::min(wanted, max);
  const double drawn = limits.jitter > 0.0 ? limits.jitter * random.unit() : 0.0;
  const double chosen = ceiling * (1.0 - drawn);
  // A double cannot hold every large count: converting max itself must not overflow.
  return chosen >= max ? limits.max : Duration{static_cast<Duration::rep>(chosen)};
}

std::string_view to_string(Backoff::Kind kind) {
  switch (kind) {
    case Backoff::Kind::immediate: return "immediate";
    case Backoff::Kind::fixed: return "fixed";
    case Backoff::Kind::linear: return "linear";
    case Backoff::Kind::exponential: return "exponential";
  }
  return {};
}

}  // namespace unirun
