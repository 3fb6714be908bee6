#include "framework/time.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>

#include "framework/internal/quantity.h"

namespace unirun {
namespace {

// From the largest to the smallest.
constexpr std::array units{Unit{"d", 86'400'000'000'000},
                           Unit{"h", 3'600'000'000'000},
                           Unit{"m", 60'000'000'000},
                           Unit{"s", 1'000'000'000},
                           Unit{"ms", 1'000'000},
                           Unit{"us", 1'000},
                           Unit{"ns", 1}};

constexpr QuantityWords words{.noun = "a duration",
                              .smallest = "a nanosecond",
                              .largest = "106751d, the most there is",
                              .remedy =
                                  "write a number and a unit (ns, us, ms, s, m, h, d), as in "
                                  "\"250ms\", \"1.5s\" or \"5m\""};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "1.52", "12.3", "123": three significant digits at most, no zeros at the end.
std::string three_digits(double value) {
  std::string text = fmt::format("{:.{}f}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const Result<std::int64_t> nanoseconds = parse_quantity(text, units, words);
  if (!nanoseconds) return nanoseconds.error();
  return Duration{*nanoseconds};
}

std::string format_duration(Duration duration) {
  if (duration == Duration::zero()) return "0s";
  return format_quantity(duration.count(), units);
}

std::string describe_duration(Duration duration) {
  if (duration < Duration::zero()) return fmt::format("-{}", describe_duration(-duration));
  const auto count = static_cast<double>(duration.count());
  // The half below each limit is what would be rounded up to the next unit.
  if (count < 999.5) return three_digits(count) + " ns";
  if (count < 999.5e3) return three_digits(count / 1e3) + " us";
  if (count < 999.5e6) return three_digits(count / 1e6) + " ms";
  if (count < 59.95e9) return three_digits(count / 1e9) + " s";

  const auto two_units = [](std::int64_t value, std::int64_t per_large, std::string_view large,
                            std::string_view small) {
    const std::int64_t rest = value % per_large;
    return rest == 0 ? fmt::format("{} {}", value / per_large, large)
                     : fmt::format("{} {} {} {}", value / per_large, large, rest, small);
  };
  const std::int64_t seconds = std::llround(count / 1e9);
  if (seconds < 3'600) return two_units(seconds, 60, "m", "s");
  const std::int64_t minutes = std::llround(count / 60e9);
  if (minutes < 24 * 60) return two_units(minutes, 60, "h", "m");
  return two_units(std::llround(count / 3'600e9), 24, "d", "h");
}

std::string format_wall_time(WallTime time) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date{day};
  const hh_mm_ss clock{floor<milliseconds>(time - day)};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

Result<WallTime> parse_wall_time(std::string_view text) {
  using namespace std::chrono;
  constexpr std::string_view shape = "0000-00-00T00:00:00";
  const auto bad = [&] {
    return Error{Errc::invalid_argument,
                 fmt::format("\"{}\" is not a time; write RFC 3339 in UTC, as in "
                             "\"2026-03-01T12:00:00.123Z\"",
                             text)};
  };
  if (text.size() <= shape.size() || text.back() != 'Z') return bad();
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == '0' ? !is_digit(text[i]) : text[i] != shape[i]) return bad();
  }
  const auto number = [&](std::size_t from, std::size_t length) {
    int value = 0;
    for (const char digit : text.substr(from, length)) value = value * 10 + (digit - '0');
    return value;
  };
  const year_month_day date{year{number(0, 4)}, month{static_cast<unsigned>(number(5, 2))},
                            day{static_cast<unsigned>(number(8, 2))}};
  if (!date.ok() || number(11, 2) > 23 || number(14, 2) > 59 || number(17, 2) > 59) return bad();

  std::int64_t fraction = 0;  // Nanoseconds.
  const std::string_view rest = text.substr(shape.size(), text.size() - shape.size() - 1);
  if (!rest.empty()) {
    if (rest.size() < 2 || rest.size() > 10 || rest.front() != '.') return bad();
    for (std::size_t i = 1; i < 10; ++i) {
      if (i < rest.size() && !is_digit(rest[i])) return bad();
      fraction = fraction * 10 + (i < rest.size() ? rest[i] - '0' : 0);
    }
  }
  return WallTime{sys_days{date}} + hours{number(11, 2)} + minutes{number(14, 2)} +
         seconds{number(17, 2)} + nanoseconds{fraction};
}

}  // namespace unirun
