// The commands that need no running host.

#pragma once

#include <string>

#include "host/cli/console.h"

namespace unirun {

// Says what is wrong with a configuration, or that nothing is.
[[nodiscard]] ExitCode validate_command(const std::string& path, bool as_json,
                                        const Console& console);

[[nodiscard]] ExitCode schema_command(const Console& console);

[[nodiscard]] ExitCode version_command(bool as_json, const Console& console);

}  // namespace unirun
