// Makes the native module stand for `import unirun` where nothing else of that name can be
// imported: it is asked last.
//
// Thread: with the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// False: an exception is set.
[[nodiscard]] bool add_finder(PyObject* module);

}  // namespace unirun::python
