#include "framework/size.h"

#include <array>
#include <limits>
#include <span>

#include "framework/internal/quantity.h"
#include "framework/require.h"

namespace unirun {
namespace {

constexpr std::array units{Unit{"TiB", std::int64_t{1} << 40},
                           Unit{"GiB", 1 << 30},
                           Unit{"MiB", 1 << 20},
                           Unit{"KiB", 1 << 10},
                           Unit{"B", 1},
                           Unit{"TB", 1'000'000'000'000},
                           Unit{"GB", 1'000'000'000},
                           Unit{"MB", 1'000'000},
                           Unit{"kB", 1'000}};
constexpr std::size_t binary_units = 5;  // The first ones: those that are written.

constexpr QuantityWords words{
    .noun = "a size",
    .smallest = "a byte",
    .largest = "8388607TiB, the most there is",
    .remedy =
        "write a number and a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), as in "
        "\"512MiB\" or \"1.5GiB\""};

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  const Result<std::int64_t> bytes = parse_quantity(text, units, words);
  if (!bytes) return bytes.error();
  return static_cast<std::uint64_t>(*bytes);
}

std::string format_size(std::uint64_t bytes) {
  UNIRUN_REQUIRE(bytes <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  if (bytes == 0) return "0B";
  return format_quantity(static_cast<std::int64_t>(bytes), std::span(units).first<binary_units>());
}

}  // namespace unirun
