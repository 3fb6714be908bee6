// What Python code of a host says to what is really parallel: `unirun.embed` rests on these.
//
// Thread: with the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// Adds parallel(), execution_mode() and serve() to the module. False: an exception is set.
[[nodiscard]] bool add_host_parallel(PyObject* module);

}  // namespace unirun::python
