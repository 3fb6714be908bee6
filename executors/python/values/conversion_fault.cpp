#include "executors/python/values/conversion_fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace unirun::python {
namespace {

bool is_name(std::string_view key) {
  return !key.empty() && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

bool Fault::is(std::string why) { return is(Error{Errc::conversion, {}, std::move(why)}); }

bool Fault::is(Error why) {
  why_ = std::move(why);
  return false;
}

bool Fault::in(std::string_view key) {
  place_ =
      (is_name(key) ? fmt::format(".{}", key) : fmt::format("[{}]", to_string(Value(key), 60))) +
      place_;
  return false;
}

bool Fault::in(std::size_t index) {
  place_ = fmt::format("[{}]", index) + place_;
  return false;
}

// A place of 512 levels is cut in its middle: both ends tell more than either alone.
Error Fault::error() && {
  constexpr std::size_t shown = 200;
  std::string place = std::move(place_);
  if (place.size() > 2 * shown) {
    const std::size_t head = utf8_length(std::string_view(place).substr(0, shown));
    std::size_t tail = place.size() - shown;
    while ((static_cast<unsigned char>(place[tail]) & 0xc0) == 0x80) ++tail;
    place = place.substr(0, head) + " ... " + place.substr(tail);
  }
  Error error = std::move(why_);
  if (!place.empty()) error.message = fmt::format("at {}: {}", place, error.message);
  return error;
}

std::string too_deep() { return fmt::format("deeper than {} levels", max_depth); }

}  // namespace unirun::python
