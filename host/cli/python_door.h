// The way from the binary into an interpreter: Python services that live inside the host, as
// threads or coroutines, need one around it.

#pragma once

#include <string>
#include <vector>

#include "framework/result.h"
#include "host/config/host_config.h"

namespace unirun {

// Is there a Python target whose executor is thread or async?
[[nodiscard]] bool has_python_inside(const SupervisorSpec& root);

// Replaces this process by `PYTHON -m unirun WORDS`, with host.python and host.python_path. Returns
// only if that cannot be.
[[nodiscard]] Error go_on_in_python(const HostConfig& config,
                                    const std::vector<std::string>& words);

}  // namespace unirun
