// The words for sizes in bytes.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "framework/result.h"

namespace unirun {

// Reads "512MiB", "1.5GiB", "64KiB", "10TiB", "100B", and the decimal "64kB", "10MB", "1GB", "1TB".
// A bare number is refused, and the error says how to write it.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);

// In the largest binary unit that needs no fraction: "512MiB", "1536KiB". parse_size() reads it
// back as the same value. REQUIRES: below 8 EiB.
[[nodiscard]] std::string format_size(std::uint64_t bytes);

}  // namespace unirun
