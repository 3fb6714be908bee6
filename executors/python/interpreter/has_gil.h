// Whether one thread at a time runs Python code, as ever, or this is a free-threaded build that
// goes without.
//
// Thread: attached to an interpreter.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// Now: an import may switch it on.
[[nodiscard]] inline bool has_gil() {
#ifdef Py_GIL_DISABLED
  PyObject* const is_enabled = PySys_GetObject("_is_gil_enabled");  // Borrowed.
  const Reference enabled =
      Reference::steal(is_enabled != nullptr ? PyObject_CallNoArgs(is_enabled) : nullptr);
  if (!enabled) PyErr_Clear();
  return enabled.get() != Py_False;
#else
  return true;
#endif
}

}  // namespace unirun::python
