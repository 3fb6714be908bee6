#include "framework/internal/quantity.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "framework/require.h"

namespace unirun {
namespace {

__extension__ using Wide = __int128;
constexpr Wide largest = std::numeric_limits<std::int64_t>::max();

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// digits / 10^decimals.
struct Decimal {
  Wide digits = 0;
  int decimals = 0;
  bool cut_off = false;    // Decimals were left out, and not all of them zeros.
  std::size_t length = 0;  // Characters read.
};

// Keeps 18 decimals, finer than any unit, and stops counting at what is too large for any.
Decimal read_decimal(std::string_view text) {
  constexpr int max_decimals = 18;
  Decimal decimal;
  const auto skip_digits = [&](auto&& each) {
    for (; decimal.length < text.size() && is_digit(text[decimal.length]); ++decimal.length) {
      each(text[decimal.length] - '0');
    }
  };
  skip_digits([&](int digit) {
    if (decimal.digits <= largest) decimal.digits = decimal.digits * 10 + digit;
  });
  const std::size_t point = decimal.length;
  if (point == 0 || point + 1 >= text.size() || text[point] != '.' || !is_digit(text[point + 1])) {
    return decimal;
  }
  ++decimal.length;
  skip_digits([&](int digit) {
    if (decimal.decimals == max_decimals || decimal.digits > largest) {
      decimal.cut_off = decimal.cut_off || digit != 0;
      return;
    }
    decimal.digits = decimal.digits * 10 + digit;
    ++decimal.decimals;
  });
  return decimal;
}

}  // namespace

Result<std::int64_t> parse_quantity(std::string_view text, std::span<const Unit> units,
                                    const QuantityWords& words) {
  const auto refuse = [&](std::string_view why) {
    return Error{Errc::invalid_argument,
                 fmt::format("\"{}\" is not {}: {}; {}", text, words.noun, why, words.remedy)};
  };
  if (!text.empty() && text.front() == '-') return refuse("it is negative");
  const Decimal decimal = read_decimal(text);
  if (decimal.length == 0) return refuse("it does not begin with a digit");
  const std::string_view name = text.substr(decimal.length);
  if (name.empty()) return refuse("its unit is missing");
  const auto unit = std::find_if(units.begin(), units.end(),
                                 [name](const Unit& candidate) { return candidate.name == name; });
  if (unit == units.end()) return refuse(fmt::format("\"{}\" is not a unit", name));

  Wide quantity = decimal.digits * unit->size;
  bool too_fine = decimal.cut_off;
  for (int i = 0; i < decimal.decimals; ++i, quantity /= 10) {
    too_fine = too_fine || quantity % 10 != 0;
  }
  if (too_fine) return refuse(fmt::format("it is finer than {}", words.smallest));
  if (quantity > largest) return refuse(fmt::format("it is more than {}", words.largest));
  return static_cast<std::int64_t>(quantity);
}

std::string format_quantity(std::int64_t quantity, std::span<const Unit> units) {
  UNIRUN_REQUIRE(!units.empty() && units.back().size == 1);
  const auto unit = std::find_if(units.begin(), units.end(), [quantity](const Unit& candidate) {
    return quantity % candidate.size == 0;
  });
  return fmt::format("{}{}", quantity / unit->size, unit->name);
}

}  // namespace unirun
