#include "supervisors/restart_intensity.h"

#include <algorithm>

#include "framework/require.h"

namespace unirun {

RestartIntensity::RestartIntensity(Limits limits) : limits_(limits) {
  UNIRUN_REQUIRE(limits.period > Duration::zero());
}

RestartIntensity::Verdict RestartIntensity::record(Instant now) {
  UNIRUN_REQUIRE(recent_.empty() || now >= recent_.back());
  forget_before(now);
  recent_.push_back(now);
  if (recent_.size() <= limits_.max_restarts) return Verdict::restart;
  // One that was too many is refused, but it did happen: it keeps its place in the window, and the
  // oldest makes room, so that the window stays bounded whoever goes on asking.
  while (recent_.size() > limits_.max_restarts + 1) recent_.pop_front();
  return Verdict::give_up;
}

void RestartIntensity::set_limits(Limits limits) {
  UNIRUN_REQUIRE(limits.period > Duration::zero());
  limits_ = limits;
}

std::size_t RestartIntensity::recent(Instant now) const {
  return static_cast<std::size_t>(std::count_if(
      recent_.begin(), recent_.end(), [&](Instant at) { return now - at <= limits_.period; }));
}

void RestartIntensity::forget_before(Instant now) {
  while (!recent_.empty() && now - recent_.front() > limits_.period) recent_.pop_front();
}

}  // namespace unirun
