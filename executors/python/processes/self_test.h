// The self-test of interpreters with a GIL of their own: a worker process tries them with the
// modules that are to be loaded there, since what does not stand it may take the process along.
//
// Thread: any, without the GIL; waits for the process.

#pragma once

#include <string>
#include <vector>

#include "executors/python/interpreter/execution_mode.h"
#include "executors/python/values/value.h"

namespace unirun::python {

// The modules that refuse. `command` and `configuration` are a worker process's, without a preload.
// Errors: worker_lost, the process did not survive it; timeout, it did not end; unsupported.
[[nodiscard]] Result<std::vector<Refusal>> test_interpreters(
    const std::vector<std::string>& command, const Value& configuration,
    const std::vector<std::string>& modules);

}  // namespace unirun::python
