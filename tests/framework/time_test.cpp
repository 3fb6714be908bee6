#include "framework/time.h"

#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "framework/random.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a duration is a number and a unit, with decimals where they come out even") {
  const auto read = [](std::string_view text) { return parse_duration(text).value(); };
  CHECK(read("10ns") == 10ns);
  CHECK(read("100us") == 100us);
  CHECK(read("250ms") == 250ms);
  CHECK(read("10s") == 10s);
  CHECK(read("5m") == 5min);
  CHECK(read("2h") == 2h);
  CHECK(read("1d") == 24h);
  CHECK(read("0s") == 0s);
  CHECK(read("1.5s") == 1500ms);
  CHECK(read("0.1s") == 100ms);  // Exactly, though 0.1 is no binary fraction.
  CHECK(read("0.000000001s") == 1ns);
  CHECK(read("1.50000000000000000000000000s") == 1500ms);
  CHECK(read("9223372036854775807ns") == Duration::max());
}

TEST_CASE("what is no duration is refused, and the error says why and how to write one") {
  const auto refused = [](std::string_view text, std::string_view why) {
    CAPTURE(text);
    const Result<Duration> result = parse_duration(text);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == Errc::invalid_argument);
    CHECK(result.error().message.find("\"" + std::string(text) + "\"") == 0);
    CHECK(result.error().message.find(why) != std::string::npos);
    CHECK(result.error().message.find("\"250ms\"") != std::string::npos);
  };
  refused("", "does not begin with a digit");
  refused("10", "unit is missing");
  refused("1.5", "unit is missing");
  refused("-1s", "negative");
  refused("+1s", "does not begin with a digit");
  refused(".5s", "does not begin with a digit");
  refused(" 1s", "does not begin with a digit");
  refused("1 s", "\" s\" is not a unit");
  refused("1.s", "\".s\" is not a unit");
  refused("1,5s", "\",5s\" is not a unit");
  refused("1e3s", "\"e3s\" is not a unit");
  refused("1S", "\"S\" is not a unit");
  refused("1min", "\"min\" is not a unit");
  refused("1s ", "\"s \" is not a unit");
  refused("0.5ns", "finer than a nanosecond");
  refused("0.0000000000000000000000000001d", "finer than a nanosecond");
  refused("106752d", "more than");
  refused("9223372036854775808ns", "more than");
  refused("99999999999999999999999999999999999999999999999999d", "more than");
}

TEST_CASE("a formatted duration has the largest unit without a fraction and reads back the same") {
  CHECK(format_duration(1500ms) == "1500ms");
  CHECK(format_duration(10s) == "10s");
  CHECK(format_duration(60s) == "1m");
  CHECK(format_duration(90min) == "90m");
  CHECK(format_duration(48h) == "2d");
  CHECK(format_duration(0s) == "0s");
  CHECK(format_duration(1ns) == "1ns");
  CHECK(format_duration(-5s) == "-5s");

  const std::uint64_t seed = Random::system_seed();
  CAPTURE(seed);
  Random random(seed);
  for (int i = 0; i < 20'000; ++i) {
    const auto magnitude = std::uint64_t{1} << random.below(63);
    const std::uint64_t step = std::uint64_t{1} << random.below(30);
    const Duration duration{static_cast<std::int64_t>(random.below(magnitude) / step * step)};
    CAPTURE(duration.count());
    CHECK(parse_duration(format_duration(duration)).value() == duration);
  }
}

TEST_CASE("no text makes parse_duration fall over, and what it accepts it can write") {
  constexpr std::string_view letters = "0123456789.numshd-+e ";
  const std::uint64_t seed = Random::system_seed();
  CAPTURE(seed);
  Random random(seed);
  int accepted = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string text;
    for (std::uint64_t n = random.below(8); n > 0; --n) text += letters[random.below(21)];
    const Result<Duration> duration = parse_duration(text);
    if (!duration) continue;
    ++accepted;
    CHECK(parse_duration(format_duration(*duration)).value() == *duration);
  }
  CHECK(accepted > 0);
}

TEST_CASE("a duration for people has three digits or two units") {
  CHECK(describe_duration(0s) == "0 ns");
  CHECK(describe_duration(250ns) == "250 ns");
  CHECK(describe_duration(1520us) == "1.52 ms");
  CHECK(describe_duration(1500us) == "1.5 ms");
  CHECK(describe_duration(12'340ms) == "12.3 s");
  CHECK(describe_duration(123'456us) == "123 ms");
  CHECK(describe_duration(100us) == "100 us");
  CHECK(describe_duration(9'996us) == "10 ms");
  CHECK(describe_duration(999'600us) == "1 s");  // Never "1000 ms".
  CHECK(describe_duration(59'960ms) == "1 m");
  CHECK(describe_duration(250s) == "4 m 10 s");
  CHECK(describe_duration(3'599'600ms) == "1 h");
  CHECK(describe_duration(2h + 5min) == "2 h 5 m");
  CHECK(describe_duration(76h) == "3 d 4 h");
  CHECK(describe_duration(-2s) == "-2 s");
}

TEST_CASE("a wall time is RFC 3339 in UTC with milliseconds, rounded down") {
  const WallTime time{std::chrono::sys_days{std::chrono::year{2026} / 3 / 1} + 12h + 123'999us};
  CHECK(format_wall_time(time) == "2026-03-01T12:00:00.123Z");
  CHECK(format_wall_time(WallTime{}) == "1970-01-01T00:00:00.000Z");
  CHECK(format_wall_time(WallTime{-1ms}) == "1969-12-31T23:59:59.999Z");
}

TEST_CASE("a wall time reads back, and what is none is refused") {
  const WallTime time{std::chrono::sys_days{std::chrono::year{2024} / 2 / 29} + 23h + 59min + 58s};
  CHECK(parse_wall_time("2024-02-29T23:59:58Z").value() == time);
  CHECK(parse_wall_time("2024-02-29T23:59:58.25Z").value() == time + 250ms);
  CHECK(parse_wall_time("2024-02-29T23:59:58.123456789Z").value() == time + 123'456'789ns);
  CHECK(parse_wall_time(format_wall_time(time + 7ms)).value() == time + 7ms);
  for (const char* text :
       {"", "Z", "2024-02-29", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z",
        "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z", "2024-01-01T00:00:60Z",
        "2024-01-01T00:00:00", "2024-01-01T00:00:00+01:00", "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00.1234567890Z", "2024-01-01T00:00:00.12x4Z", "2024-01-01 00:00:00Z"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_wall_time(text));
  }
}

}  // namespace
}  // namespace unirun
