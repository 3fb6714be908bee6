// ConfigFault: one thing that is wrong with a configuration: where, what was found, what would be
// right. A report holds all of them, in the order of the file.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace unirun {

struct ConfigFault {
  std::string pointer;   // JSON pointer (RFC 6901): "/supervisors/0/children/1"; "" is the whole.
  unsigned line = 0;     // From 1; 0 where there is no text, or no such place in it.
  unsigned column = 0;   // From 1, in bytes.
  std::string message;   // One sentence: what was found and what would be right.
  std::string found;     // As JSON, shortened; empty where nothing is the fault.
  std::string expected;  // In words.
  std::string nearest;   // The known word that was probably meant; empty if none is near.
};

// For people, one line per fault, after a line that counts them:
//   configs/demo.json: 2 faults
//     /supervisors/0/children/1/restart (line 12): found "always"; expected one of ...
[[nodiscard]] std::string describe(const std::vector<ConfigFault>& faults, std::string_view origin);
[[nodiscard]] std::string describe(const ConfigFault& fault);

// [{"pointer", "line", "column", "message", "found", "expected", "nearest"}]; empty members left
// out.
[[nodiscard]] nlohmann::json to_json(const std::vector<ConfigFault>& faults);

}  // namespace unirun
