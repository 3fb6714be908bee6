// What Python code of a host says to the executor inside it: `unirun.embed` rests on these. In a
// Python that a C++ program has started they find that program's executor.
//
// Thread: with the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// Adds attach(), shutdown(), is_initialized(), submit(), stats() and waiting() to the module.
// False: an exception is set.
[[nodiscard]] bool add_host_functions(PyObject* module);

}  // namespace unirun::python
