// The engine of unirun.executors.processes: calls wait in a queue here, travel to worker processes
// through rings in shared memory, and come back as results that complete their futures.
//
// Who looks into the rings: a thread that waits in result(), so that nobody has to be switched to
// in between; else the pool's manager thread, which also runs callbacks, sees workers die and ends
// calls that are over their time. Starting and ending processes is Python's part.
//
// Thread: with the GIL, or this object's lock on builds without one.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

namespace unirun::bindings {

// Makes the types ProcessEngine and NativeProcessPool and adds them to the module.
[[nodiscard]] bool init_process_pool(PyObject* module);

}  // namespace unirun::bindings
