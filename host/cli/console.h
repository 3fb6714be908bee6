// Console: where a command writes. Answers go to `out`, everything about the command itself to
// `error`; each has its style.

#pragma once

#include <iostream>
#include <string>
#include <string_view>

#include "framework/result.h"
#include "host/cli/exit_code.h"
#include "host/cli/text_style.h"

namespace unirun {

struct Console {
  std::ostream& out;
  std::ostream& error;
  TextStyle out_style;
  TextStyle error_style;

  // stdout and stderr of this process.
  [[nodiscard]] static Console of_process();

  // "unirun: what is wrong" to `error`; gives the exit code that goes with it.
  ExitCode fail(const Error& problem) const;
  ExitCode fail(ExitCode code, std::string_view problem) const;
};

}  // namespace unirun
