// What runs Python beside Python here: the rule, and its reason.
//
// Values.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "executors/python/error.h"

namespace unirun::python {

enum class ExecutionMode : std::uint8_t {
  automatic,       // Only to ask for; the others are also what one gets.
  free_threaded,   // Threads of one interpreter that has no GIL.
  subinterp,       // Interpreters with a GIL each.
  multi_executor,  // Threads that share one GIL, and worker processes where it must be parallel.
  process,         // Worker processes.
};

[[nodiscard]] std::string_view to_string(ExecutionMode mode);

// A module that does not load in interpreters with a GIL of their own.
struct Refusal {
  std::string module;
  std::string why;
};

struct ModeReport {
  ExecutionMode mode = ExecutionMode::multi_executor;
  std::string reason{};
  std::string python_version{};            // "3.13.0"
  bool gil_enabled = true;                 // Now: an import may have switched it on again.
  std::vector<Refusal> refused_modules{};  // Calls of these run in worker processes.
};

// What the rule looks at.
struct ModeFacts {
  ExecutionMode wanted = ExecutionMode::automatic;
  std::string wanted_by = "Config::mode";  // Where that stands, for messages.
  bool allow_unsafe_subinterpreters = false;
  int major = 3;
  int minor = 0;
  bool gil_enabled = true;
  bool free_threaded_build = false;  // Its GIL can be switched off.
  std::vector<Refusal> refused_modules{};
  std::string failed_self_test{};  // How the process ended that tried the modules; empty: well.
};

// Free threading where the GIL is off, which takes consent; interpreters from 3.14, or from 3.12 by
// consent, unless a module refuses them, and never where there may be no GIL; else threads that
// share one. Without `python_version`. Errors:
// unsupported, what is wanted outright cannot be had, and why.
[[nodiscard]] Result<ModeReport> choose_mode(const ModeFacts& facts);

}  // namespace unirun::python
