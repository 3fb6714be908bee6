// A quantity is a number with its unit, as configurations write it: "250ms", "1.5GiB". Reading is
// exact: decimals are never turned into binary fractions.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "framework/result.h"

namespace unirun {

struct Unit {
  std::string_view name;
  std::int64_t size;  // In the smallest unit.
};

// What an error says: `"10" is not {noun}: its unit is missing; {remedy}`.
struct QuantityWords {
  std::string_view noun;
  std::string_view smallest;  // "a nanosecond"
  std::string_view largest;   // What still fits.
  std::string_view remedy;    // How to write one.
};

// In the smallest unit. Refused: no unit, an unknown one, a sign, what is too large or too fine.
[[nodiscard]] Result<std::int64_t> parse_quantity(std::string_view text,
                                                  std::span<const Unit> units,
                                                  const QuantityWords& words);

// In the first of `units` that needs no fraction. REQUIRES: the last one's size is 1.
[[nodiscard]] std::string format_quantity(std::int64_t quantity, std::span<const Unit> units);

}  // namespace unirun
