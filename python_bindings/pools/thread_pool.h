// NativeThreadPool: what ThreadPoolExecutor has of ours: submit() onto a ThreadEngine. The Python
// class, unirun.executors.threads.ThreadPoolExecutor, derives from it and from the standard one.

#pragma once

#include "python_bindings/python.h"

namespace unirun::bindings {

// Makes the type and adds it to the module. False: an exception is set.
[[nodiscard]] bool init_thread_pool(PyObject* module);

}  // namespace unirun::bindings
