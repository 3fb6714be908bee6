// import_module() imports a module beside other threads that import it, too.
//
// Thread: with the GIL of the interpreter.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// As `import name` gives it, dotted names whole. Null: an exception is set, of this import and of
// no other's.
[[nodiscard]] Reference import_module(PyObject* name);

}  // namespace unirun::python
