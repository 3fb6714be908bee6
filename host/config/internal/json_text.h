// What can be said of a configuration's text before its shape is known: is it JSON, does an object
// name a key twice, and in which line does each value stand. The JSON library keeps no positions,
// so its SAX parser is run over an iterator that counts.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "host/config/config_fault.h"

namespace unirun {

// Deeper documents are refused: no honest tree has sixty levels of supervisors.
inline constexpr std::size_t max_json_depth = 128;

struct ParsedText {
  bool is_json = false;
  nlohmann::json document;          // Null if the text is not JSON.
  std::vector<ConfigFault> faults;  // The one of syntax, or the duplicate keys; with places.
};
[[nodiscard]] ParsedText parse_text(std::string_view text);

// Fills in line and column of faults that have only a pointer. A pointer to what is missing gets
// the place of the nearest value above it. REQUIRES: `text` is JSON.
void locate(std::vector<ConfigFault>& faults, std::string_view text);

}  // namespace unirun
