// The native module is what Python code sees of the C++ program that runs it: call(), async_call(),
// functions, state, ... It stands in sys.modules as unirun._embed, and for `import unirun` too
// where that package is not installed; where it is, the package leads to it.
//
// Each interpreter has one of its own, and they share nothing but FunctionTable.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include "executors/python/error.h"

namespace unirun::python {

// Gives the interpreter its module; does nothing where it has one. Errors: python_exception.
// Thread: with the GIL of that interpreter.
[[nodiscard]] Result<void> install_native_module();

// For a Python that nobody's C++ has started, which imports it from a file.
[[nodiscard]] PyModuleDef* native_module();

}  // namespace unirun::python
