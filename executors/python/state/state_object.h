// `unirun.state`: the program's SharedState as an object of Python, and Counter, which adds to one
// of its counters as fast as Python calls.
//
// Thread: with the GIL of any interpreter.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// Adds the types SharedState and Counter to the module, and `state`. Each interpreter has its own
// objects, and all have the same values. False: an exception is set.
[[nodiscard]] bool add_state(PyObject* module);

}  // namespace unirun::python
