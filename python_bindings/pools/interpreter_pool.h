// NativeInterpreterPool: the base of unirun's InterpreterPoolExecutor, whose submit() is native.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

namespace unirun::bindings {

// Makes the types of interpreter pools and adds them to the module. False: an exception is set.
[[nodiscard]] bool init_interpreter_pools(PyObject* module);

}  // namespace unirun::bindings
