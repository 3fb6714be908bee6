// The command line of `unirun`: what it accepts, and which command that means.

#pragma once

#include <string>

#include "host/cli/console.h"
#include "host/cli/exit_code.h"

namespace unirun {

class ServiceFactory;

// What the program around the command line brings along: nothing in the binary, an interpreter in
// `python -m unirun`.
struct CommandDoor {
  ServiceFactory* python_services = nullptr;  // Outlives the command.
  std::string python;                // Of Python targets, where the configuration names none.
  bool targets_are_checked = false;  // By the binary that has started this.
};

// Parses and carries out. Throws nothing.
[[nodiscard]] ExitCode run_command_line(int argc, const char* const* argv, const Console& console,
                                        const CommandDoor& door = {});

}  // namespace unirun
