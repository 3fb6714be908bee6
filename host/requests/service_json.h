// What is known of a child, and of a tree, as the answers of status and tree show it. The members
// are listed in host/requests/requests.h.

#pragma once

#include <string>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "framework/time.h"
#include "host/metrics/metrics.h"
#include "supervisors/snapshot.h"

namespace unirun {

// What services last said they are doing, by path; of the present runs.
using StatusTexts = std::unordered_map<std::string, std::string>;

// What services tell of themselves.
struct SelfReports {
  const StatusTexts& texts;
  const Metrics& metrics;
};

[[nodiscard]] nlohmann::json service_json(const ChildSnapshot& child, const SelfReports& reports,
                                          Instant now);

// The same with "children" and what is particular to a supervisor.
[[nodiscard]] nlohmann::json node_json(const TreeSnapshot& node, const SelfReports& reports,
                                       Instant now);

// What a command or which_children says of a child.
[[nodiscard]] nlohmann::json handle_json(const ChildSnapshot& child);

}  // namespace unirun
