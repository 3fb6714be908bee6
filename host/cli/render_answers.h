// The answers of a host (host/requests/requests.h) as a person reads them. Whatever an answer lacks
// is left out, so that an older or a newer host is shown as well.

#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "host/cli/text_style.h"

namespace unirun {

// Of "status": the host in a line, then a table of services.
[[nodiscard]] std::string render_status(const nlohmann::json& answer, const TextStyle& style);

// Of "tree": one line a node, drawn with lines.
[[nodiscard]] std::string render_tree(const nlohmann::json& answer, const TextStyle& style);

// Of the commands: the services that they were about, as a table.
[[nodiscard]] std::string render_services(const nlohmann::json& services, const TextStyle& style);

// Of "why": in sentences, the latest death first.
[[nodiscard]] std::string render_why(const nlohmann::json& answer, const TextStyle& style);

// One line that a service printed; `with_path` where there are several.
[[nodiscard]] std::string render_log_line(const nlohmann::json& line, bool with_path,
                                          const TextStyle& style);

// "1 d 3 h", "-" for null.
[[nodiscard]] std::string render_seconds(const nlohmann::json& seconds);

[[nodiscard]] Colour colour_of_state(std::string_view state);

}  // namespace unirun
