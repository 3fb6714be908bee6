// What worker processes, and interpreters of workers, are given so that code finds there what it
// finds here: as the main interpreter has it at this moment.
//
// Thread: any, while Python runs.

#pragma once

#include <string>
#include <vector>

#include "executors/python/interpreter/own_interpreter.h"
#include "executors/python/python_executor.h"

namespace unirun::python {

[[nodiscard]] OwnInterpreterOptions interpreter_options(const PythonExecutor::Config& config);

// Of a ProcessWorker, which imports `preload` before anything else.
[[nodiscard]] Object worker_configuration(const PythonExecutor::Config& config,
                                          const std::vector<std::string>& preload);

}  // namespace unirun::python
