#include "executors/python/values/typed_value.h"

#include <fmt/format.h>

namespace unirun::python {

bool refuse(Fault& fault, std::string_view expected, const Value& got) {
  constexpr std::size_t shown = 60;
  if (got.is_null()) return fault.is(fmt::format("expected {}, got null", expected));
  return fault.is(fmt::format("expected {}, got {} {}", expected, to_string(got.kind()),
                              to_string(got, shown)));
}

std::string integer_between(std::int64_t least, std::uint64_t most) {
  return fmt::format("an integer from {} to {}", least, most);
}

}  // namespace unirun::python
