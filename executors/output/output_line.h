// OutputLine is one line that a service printed, without its newline.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "framework/run_id.h"
#include "framework/time.h"

namespace unirun {

enum class OutputStream : std::uint8_t {
  standard_output,
  standard_error,
  log,  // What a Python service says through its logger.
};

// "stdout", "stderr" or "log".
[[nodiscard]] std::string_view to_string(OutputStream stream);

struct OutputLine {
  std::uint64_t number = 0;  // From 1, per service; grows by one over restarts too.
  WallTime at{};
  RunId run{};
  OutputStream stream = OutputStream::standard_output;
  bool continued = false;  // The line was too long: the next one goes on where this one ends.
  std::string text;        // Bytes as they came; to_json() replaces what is not UTF-8.
};

// {"number", "time", "run", "stream", "text"}, and "continued" where it is true.
[[nodiscard]] nlohmann::json to_json(const OutputLine& line);

}  // namespace unirun
