// What an event takes of memory, nearly: for queues, which are bounded in bytes too. Nearly all
// events are small, but one may carry a traceback, or what a service chose to log.

#pragma once

#include <cstddef>

#include "framework/event.h"

namespace unirun {

// Bytes that `capacity` waiting events may take together: a KiB each, and room for a few large
// ones.
[[nodiscard]] constexpr std::size_t bytes_for(std::size_t capacity) {
  return (std::size_t{1} << 20) + (capacity << 10);
}

[[nodiscard]] std::size_t size_in_bytes(const Event& event);
[[nodiscard]] std::size_t text_in_bytes(const ExitReason& reason);

}  // namespace unirun
