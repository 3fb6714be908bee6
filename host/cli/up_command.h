// `unirun up`: a host in the foreground, its events as a log, a summary at the end.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/time.h"
#include "host/cli/command_line.h"
#include "host/cli/console.h"

namespace unirun {

struct UpOptions {
  std::string config;
  std::optional<Duration> run_for;  // Then stop in order. Nothing: until told to.
  bool as_json = false;             // One event a line, then the summary.
  std::vector<std::string> words;   // The command line behind its first word.
};

// A tree with Python services that live inside the host has this process go on as
// `PYTHON -m unirun` with the same words, where the door brings no Python.
[[nodiscard]] ExitCode up_command(const UpOptions& options, const Console& console,
                                  const CommandDoor& door);

}  // namespace unirun
