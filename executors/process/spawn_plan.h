// From a ServiceSpec to a SpawnRequest: arguments, environment, credentials and limits, with names
// looked up and placeholders filled in. Descriptors are the run's own business.
//
// Thread: the loop's.

#pragma once

#include <string>
#include <string_view>

#include "executors/executor.h"
#include "executors/process/run_world.h"
#include "executors/process/spawner.h"
#include "framework/result.h"

namespace unirun {

// The mark in its environment is that of the latest launch of `world`.
// Errors: Errc::start_failed, naming the step: a target that is no process, an unknown user, an
// unknown resource.
[[nodiscard]] Result<SpawnRequest> plan_spawn(const Launch& launch, const RunWorld& world);

// Fills in "{id}", "{instance}" and "{path}"; other braces stay.
[[nodiscard]] std::string fill_placeholders(std::string_view text, const Launch& launch);

}  // namespace unirun
