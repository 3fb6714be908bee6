// TemplatePlan is what a template process is started with, and so what every worker forked from it
// inherits: services that agree in all of it share a template.
//
// A value.

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "executors/executor.h"
#include "executors/process/spawner.h"

namespace unirun {

struct TemplatePlan {
  SpawnRequest request;  // The interpreter's; without descriptors and marks.
  std::vector<std::string> preload;
  std::string target;  // Its module is preloaded, unless empty.

  // Equal for plans that are.
  [[nodiscard]] std::string key() const;
};

// The plan for a service whose own process would be spawned by `request`. What differs from one
// instance to the next (variables with a placeholder) is no part of it, and goes to `own`.
[[nodiscard]] TemplatePlan plan_template(const Launch& launch, const SpawnRequest& request,
                                         nlohmann::json& own);

}  // namespace unirun
