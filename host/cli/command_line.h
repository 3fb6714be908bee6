// The command line of `unirun`: what it accepts, and which command that means.

#pragma once

#include "host/cli/console.h"
#include "host/cli/exit_code.h"

namespace unirun {

// Parses and carries out. Throws nothing.
[[nodiscard]] ExitCode run_command_line(int argc, const char* const* argv, const Console& console);

}  // namespace unirun
