#include "framework/simulated_time.h"

#include <algorithm>
#include <utility>

#include "framework/require.h"

namespace unirun {

TimerId SimulatedTime::start_timer(Instant deadline, std::function<void()> on_due) {
  return queue_.start(deadline, std::move(on_due));
}

void SimulatedTime::cancel_timer(TimerId timer) { queue_.cancel(timer); }

void SimulatedTime::stand_at(Instant instant) {
  if (instant <= now_) return;  // A late timer fires now: time does not go back.
  wall_ += instant - now_;
  now_ = instant;
}

void SimulatedTime::advance(Duration duration) {
  UNIRUN_REQUIRE(duration >= Duration::zero());
  const Instant end = now_ + duration;
  while (pending() > 0 && next_deadline() <= end) fire_next();
  stand_at(end);
}

bool SimulatedTime::fire_next() {
  const Instant deadline = next_deadline();
  const TimerId timer = pending() > 0 ? queue_.take_due(deadline) : TimerId::none;
  if (timer == TimerId::none) return false;
  stand_at(deadline);
  queue_.claim(timer)();
  return true;
}

}  // namespace unirun
