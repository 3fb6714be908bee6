// Backoff: how long to wait before a restart. OTP has none: its restarts are immediate, and so are
// ours unless told otherwise.
//
// A value with no clock: failures in a row and chance come in, a delay goes out.

#pragma once

#include <cstdint>
#include <string_view>

#include "framework/random.h"
#include "framework/time.h"

namespace unirun {

class Backoff {
 public:
  enum class Kind : std::uint8_t { immediate, fixed, linear, exponential };

  struct Limits {
    Kind kind = Kind::immediate;
    Duration initial = std::chrono::milliseconds{100};
    Duration max = std::chrono::seconds{30};
    double factor = 2.0;  // exponential: initial * factor^n; linear: initial * (1 + n).
    double jitter = 0.0;  // 0..1: the share of the delay that is drawn anew; 1 is full jitter.
    Duration stable_after =
        std::chrono::seconds{10};  // A run this long forgets the failures before it.
  };

  // The wait before the restart that follows the `failures`-th failure in a row (from 1). Never
  // above `limits.max`; no overflow at any count. REQUIRES: failures > 0.
  [[nodiscard]] static Duration delay(const Limits& limits, std::uint64_t failures, Random& random);
};

[[nodiscard]] std::string_view to_string(Backoff::Kind kind);

}  // namespace unirun
