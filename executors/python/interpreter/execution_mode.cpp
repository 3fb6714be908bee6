#include "executors/python/interpreter/execution_mode.h"

#include <fmt/format.h>

#include "framework/require.h"

namespace unirun::python {
namespace {

// Nothing where interpreters with a GIL of their own can be had.
std::string against_interpreters(const ModeFacts& facts) {
  if (facts.minor < 12)
    return fmt::format("Python {}.{} has no interpreters with a GIL of their own, 3.12 has",
                       facts.major, facts.minor);
  if (facts.minor < 14 && !facts.allow_unsafe_subinterpreters)
    return fmt::format(
        "modules of Python {}.{} itself corrupt the heap in interpreters with a GIL of their own, "
        "3.14's do not (Config::allow_unsafe_subinterpreters takes the risk)",
        facts.major, facts.minor);
  if (!facts.failed_self_test.empty())
    return fmt::format("the process that tried interpreters with a GIL of their own: {}",
                       facts.failed_self_test);
  if (facts.refused_modules.empty()) return {};
  std::string names;
  for (const Refusal& refusal : facts.refused_modules)
    names += (names.empty() ? "" : "; ") + refusal.module + ": " + refusal.why;
  return "not every preloaded module takes interpreters with a GIL of their own: " + names;
}

std::string for_interpreters(const ModeFacts& facts) {
  if (facts.minor >= 14)
    return fmt::format("interpreters with a GIL of their own are sound in Python {}.{}",
                       facts.major, facts.minor);
  return fmt::format(
      "Config::allow_unsafe_subinterpreters: in Python {}.{} asyncio, hashlib, "
      "datetime, decimal and sqlite3 are known to corrupt the heap in more than one "
      "interpreter",
      facts.major, facts.minor);
}

}  // namespace

std::string_view to_string(ExecutionMode mode) {
  switch (mode) {
    case ExecutionMode::automatic: return "automatic";
    case ExecutionMode::free_threaded: return "free_threaded";
    case ExecutionMode::subinterp: return "subinterp";
    case ExecutionMode::multi_executor: return "multi_executor";
    case ExecutionMode::process: return "process";
  }
  unreachable();
}

Result<ModeReport> choose_mode(const ModeFacts& facts) {
  ModeReport report{.mode = facts.wanted,
                    .reason = "Config::mode says so",
                    .gil_enabled = facts.gil_enabled,
                    .refused_modules = facts.refused_modules};
  const std::string against = against_interpreters(facts);
  const auto unsupported = [&](const std::string& why) {
    return Error{.code = Errc::unsupported,
                 .message = fmt::format("Config::mode {}: {}; `automatic` takes what there is",
                                        to_string(facts.wanted), why)};
  };
  switch (facts.wanted) {
    case ExecutionMode::multi_executor:
    case ExecutionMode::process: return report;
    case ExecutionMode::free_threaded:
      if (facts.gil_enabled) return unsupported("the GIL is on");
      return report;
    case ExecutionMode::subinterp:
      if (!against.empty()) return unsupported(against);
      report.reason = for_interpreters(facts);
      return report;
    case ExecutionMode::automatic: break;
  }
  if (!facts.gil_enabled) {
    report.mode = ExecutionMode::free_threaded;
    report.reason = "the GIL is off";
  } else if (against.empty()) {
    report.mode = ExecutionMode::subinterp;
    report.reason = for_interpreters(facts);
  } else {
    report.mode = ExecutionMode::multi_executor;
    report.reason = against;
  }
  return report;
}

}  // namespace unirun::python
