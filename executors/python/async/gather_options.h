// How PythonExecutor::gather() is to go about it.

#pragma once

#include <cstdint>
#include <optional>

#include "framework/time.h"

namespace unirun::python {

struct GatherOptions {
  std::optional<Duration> timeout{};  // For the whole.
  bool fail_fast = false;             // The first error cancels the rest.
  std::uint32_t limit = 0;            // At most so many at once; 0: all.
};

}  // namespace unirun::python
