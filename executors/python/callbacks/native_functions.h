// `unirun.functions`: each C++ function that is registered is a name of it, and a Python callable.
//
// Thread: with the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// Of this module's interpreter. Null: an exception is set.
[[nodiscard]] Reference make_functions(PyObject* module);

}  // namespace unirun::python
