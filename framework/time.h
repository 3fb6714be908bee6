// The words for time. Instants are monotonic; a wall time is only ever shown, never compared.

#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "framework/result.h"

namespace unirun {

using Duration = std::chrono::nanoseconds;
using Instant = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

// Reads "250ms", "1.5s", "10s", "5m", "2h", "1d", "100us", "10ns". A bare number is refused, and
// the error says how to write it. Negative durations and overflows are refused too.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);

// In the largest unit that needs no fraction: "1500ms", "10s", "5m". parse_duration() reads it back
// as the same value.
[[nodiscard]] std::string format_duration(Duration duration);

// For people: three significant digits at most, or two units: "1.52 ms", "12.3 s", "4 m 10 s".
[[nodiscard]] std::string describe_duration(Duration duration);

// RFC 3339 in UTC with milliseconds: "2026-03-01T12:00:00.123Z".
[[nodiscard]] std::string format_wall_time(WallTime time);

// Reads what format_wall_time() writes, with none to nine decimals. Other zones than Z are refused.
[[nodiscard]] Result<WallTime> parse_wall_time(std::string_view text);

}  // namespace unirun
