// The loop of a worker process: takes calls from its ring, makes them, writes what came of them.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

namespace unirun::bindings {

// work(pool_file, worker_file, event, life, socket, make_pickler, reuse, loads, describe): serves
// until the pool says stop. Ends by an exception where a call cannot be read, or by a signal when
// the pool's process is gone.
PyObject* work(PyObject* module, PyObject* args);

}  // namespace unirun::bindings
