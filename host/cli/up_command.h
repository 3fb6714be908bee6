// `unirun up`: a host in the foreground, its events as a log, a summary at the end.

#pragma once

#include <optional>
#include <string>

#include "framework/time.h"
#include "host/cli/console.h"

namespace unirun {

struct UpOptions {
  std::string config;
  std::optional<Duration> run_for;  // Then stop in order. Nothing: until told to.
  bool as_json = false;             // One event a line, then the summary.
};

[[nodiscard]] ExitCode up_command(const UpOptions& options, const Console& console);

}  // namespace unirun
