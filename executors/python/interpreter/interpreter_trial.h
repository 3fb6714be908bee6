// InterpreterTrial finds out which modules do not load in interpreters with a GIL of their own: it
// imports them in two at once, twice. What a module does to the process where it is not made for
// that is not foreseen: a crash too is an answer, so this is for a process that may be lost, or for
// a Python where it is sound.
//
// Thread: any, without the GIL.

#pragma once

#include <string>
#include <vector>

#include "executors/python/interpreter/execution_mode.h"
#include "executors/python/interpreter/own_interpreter.h"

namespace unirun::python {

// Those that fail to load there, each once. Errors: unsupported, there is no such interpreter.
[[nodiscard]] Result<std::vector<Refusal>> try_in_interpreters(
    const OwnInterpreterOptions& options, const std::vector<std::string>& modules);

}  // namespace unirun::python
