#include "executors/python/mode_choice.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include <utility>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/interpreter/interpreter_trial.h"
#include "executors/python/processes/self_test.h"
#include "executors/python/processes/worker_process.h"
#include "executors/python/values/exception_text.h"
#include "executors/python/worker_surroundings.h"

namespace unirun::python {
namespace {

#ifdef Py_GIL_DISABLED
constexpr bool is_free_threaded_build = true;
#else
constexpr bool is_free_threaded_build = false;
#endif

// As a warning of Python's, which its filters know what to do with.
Result<void> warn(const std::string& text) {
  const GILGuard guard;
  if (PyErr_WarnEx(PyExc_RuntimeWarning, text.c_str(), 1) == 0) return {};
  return error_of_exception();
}

}  // namespace

Result<void> ModeChoice::make(const PythonExecutor::Config& config,
                              const std::vector<std::string>& host_command) {
  facts_ = {.wanted = config.mode,
            .allow_unsafe_subinterpreters = config.allow_unsafe_subinterpreters,
            .major = PY_MAJOR_VERSION,
            .minor = PY_MINOR_VERSION,
            .gil_enabled = Interpreter::is_gil_enabled(),
            .free_threaded_build = is_free_threaded_build,
            .refused_modules = {},
            .failed_self_test = {}};
  own_interpreters_ = false;
  auto choice = choose_mode(facts_);
  if (choice.ok() && choice->mode == ExecutionMode::subinterp && !config.preload.empty()) {
    try_interpreters(config, host_command);
    choice = choose_mode(facts_);
  }
  if (!choice) return choice.error();
  const bool is_risky = choice->mode == ExecutionMode::free_threaded ||
                        (PY_VERSION_HEX < 0x030e0000 && choice->mode == ExecutionMode::subinterp);
  if (is_risky) {
    if (auto warned = warn(choice->reason); !warned.ok()) return warned;
  }
  if (!config.use_subinterpreters) return {};
  own_interpreters_ = choice->mode == ExecutionMode::subinterp;
  // What they are refused for by the rule is an error; where modules do not load there it goes on
  // without, as execution_mode() says.
  const bool falls_back = !facts_.refused_modules.empty() || !facts_.failed_self_test.empty() ||
                          choice->mode == ExecutionMode::free_threaded;
  if (own_interpreters_ || falls_back) return {};
  return Error{.code = Errc::unsupported,
               .message = fmt::format("Config::use_subinterpreters: {}", choice->reason)};
}

// Before they are trusted with the modules: in a process that may be lost; where they are sound and
// there is no such program, here.
void ModeChoice::try_interpreters(const PythonExecutor::Config& config,
                                  const std::vector<std::string>& host_command) {
  const GILRelease released;
  const auto command = worker_command(config.worker_program, host_command);
  const auto refusals =
      command.ok() ? test_interpreters(*command, worker_configuration(config, {}), config.preload)
      : facts_.minor >= 14
          ? try_in_interpreters({.sys_path = Interpreter::sys_path()}, config.preload)
          : Result<std::vector<Refusal>>(command.error());
  if (refusals.ok()) {
    facts_.refused_modules = *refusals;
  } else {
    facts_.failed_self_test = refusals.error().message;
  }
}

// Where there may be no GIL an import may have brought it back.
ModeFacts ModeChoice::facts_now() const {
  ModeFacts facts = facts_;
  if (is_free_threaded_build) facts.gil_enabled = Interpreter::is_gil_enabled();
  return facts;
}

ModeReport ModeChoice::report() const {
  ModeFacts facts = facts_now();
  auto report = choose_mode(facts);
  if (!report) {
    facts.wanted = ExecutionMode::automatic;
    report = choose_mode(facts);
  }
  report->python_version = Interpreter::version();
  return *std::move(report);
}

Result<void> ModeChoice::allows(ExecutionMode mode) const {
  ModeFacts facts = facts_now();
  facts.wanted = mode;
  facts.wanted_by = "ParallelOptions::mode";
  const auto choice = choose_mode(facts);
  if (!choice) return choice.error();
  return {};
}

}  // namespace unirun::python
