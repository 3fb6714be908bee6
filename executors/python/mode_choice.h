// ModeChoice is which way an executor has of running Python beside Python: the rule of
// choose_mode(), applied when it starts to what this interpreter and its configuration are, and to
// what the modules that it preloads bear.
//
// Thread: make(): the starter's, without others; the rest: any.

#pragma once

#include <string>
#include <vector>

#include "executors/python/interpreter/execution_mode.h"
#include "executors/python/python_executor.h"

namespace unirun::python {

class ModeChoice {
 public:
  // `host_command` as worker_command() has it. Warns, as Python does, of a mode with risks. Errors:
  // what the configuration wants outright cannot be had; a warning that is an error here.
  [[nodiscard]] Result<void> make(const PythonExecutor::Config& config,
                                  const std::vector<std::string>& host_command);

  // The workers have an interpreter each.
  [[nodiscard]] bool has_own_interpreters() const { return own_interpreters_; }
  // As it stands now: an import may have brought a GIL back.
  [[nodiscard]] ModeReport report() const;
  // Whether a call may have this mode. Errors: why not.
  [[nodiscard]] Result<void> allows(ExecutionMode mode) const;

 private:
  void try_interpreters(const PythonExecutor::Config& config,
                        const std::vector<std::string>& host_command);
  [[nodiscard]] ModeFacts facts_now() const;

  ModeFacts facts_;
  bool own_interpreters_ = false;
};

}  // namespace unirun::python
