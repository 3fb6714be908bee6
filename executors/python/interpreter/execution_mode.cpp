#include "executors/python/interpreter/execution_mode.h"

#include <fmt/format.h>

#include "framework/require.h"

namespace unirun::python {
namespace {

// unirun does not say of itself that it needs no GIL. That would take two things: a look at what a
// thread runs while one raises an exception in it (is_out_of_reach()), which nobody has who does
// not stop all threads; and a fork() that CPython 3.13 survives.
constexpr const char* risk_without_gil =
    "an interruption in the midst of an import may keep the lock of the module for ever, and a "
    "child of os.fork() may hang";

// Nothing where interpreters with a GIL of their own can be had.
std::string against_interpreters(const ModeFacts& facts) {
  if (facts.free_threaded_build)
    return fmt::format(
        "this free-threaded Python {}.{} has its GIL on: without, {} (PYTHON_GIL=0, or "
        "Config::mode free_threaded of a program of C++, takes the risk)",
        facts.major, facts.minor, risk_without_gil);
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

std::string for_free_threading() {
  return fmt::format("the GIL is off, as was asked for: {}", risk_without_gil);
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
                    .reason = facts.wanted_by + " says so",
                    .gil_enabled = facts.gil_enabled,
                    .refused_modules = facts.refused_modules};
  const std::string against = against_interpreters(facts);
  const auto unsupported = [&](const std::string& why) {
    return Error{.code = Errc::unsupported,
                 .message = fmt::format("{} {}: {}; `automatic` takes what there is",
                                        facts.wanted_by, to_string(facts.wanted), why)};
  };
  switch (facts.wanted) {
    case ExecutionMode::multi_executor:
    case ExecutionMode::process: return report;
    case ExecutionMode::free_threaded:
      if (facts.gil_enabled) return unsupported("the GIL is on");
      report.reason = for_free_threading();
      return report;
    case ExecutionMode::subinterp:
      if (!against.empty()) return unsupported(against);
      report.reason = for_interpreters(facts);
      return report;
    case ExecutionMode::automatic: break;
  }
  if (!facts.gil_enabled) {
    report.mode = ExecutionMode::free_threaded;
    report.reason = for_free_threading();
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
