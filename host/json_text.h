// JSON as text for the edges: what is not UTF-8 (a service prints what it likes) is replaced, where
// nlohmann's own dump() would throw.

#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace unirun {

[[nodiscard]] inline std::string json_text(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace unirun
