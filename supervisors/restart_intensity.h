// RestartIntensity decides when a supervisor stops restarting and gives up.
//
// At most `max_restarts` restarts are tolerated inside any window of `period`; one more hands the
// failure to the supervisor above. Both ends of the window count, as in Erlang/OTP (supervisor.erl,
// add_restart), but to the nanosecond and not to the second.
//
// A value with no clock, owned by one supervisor.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "framework/time.h"

namespace unirun {

class RestartIntensity {
 public:
  struct Limits {
    std::uint64_t max_restarts = 1;
    Duration period = std::chrono::seconds{5};
  };

  enum class Verdict : std::uint8_t { restart, give_up };

  // REQUIRES: limits.period > 0.
  explicit RestartIntensity(Limits limits);

  // Counts one restart at `now` and says whether it is still tolerated.
  // REQUIRES: `now` is not before the previous call.
  [[nodiscard]] Verdict record(Instant now);

  // New limits judge the old window (OTP: code_change keeps the restarts).
  void set_limits(Limits limits);

  void clear() { recent_.clear(); }

  // Restarts that still count at `now`.
  [[nodiscard]] std::size_t recent(Instant now) const;

 private:
  void forget_before(Instant now);

  Limits limits_;
  std::deque<Instant> recent_;  // Oldest first; never longer than max_restarts + 1.
};

}  // namespace unirun
