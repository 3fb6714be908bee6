// What is known of a child, and of a tree, as the answers of status and tree show it. The members
// are listed in host/requests.h.

#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "framework/time.h"
#include "supervisors/snapshot.h"

namespace unirun {

[[nodiscard]] nlohmann::json service_json(const ChildSnapshot& child, Instant now);

// The same with "children" and what is particular to a supervisor.
[[nodiscard]] nlohmann::json node_json(const TreeSnapshot& node, Instant now);

}  // namespace unirun
