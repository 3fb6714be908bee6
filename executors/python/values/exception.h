// The exception that is set, as an object, whatever the version of Python. REQUIRES: the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// Takes it off the thread, normalized and with its traceback; empty where none is set.
[[nodiscard]] inline Reference take_exception() {
#if PY_VERSION_HEX >= 0x030c0000
  return Reference::steal(PyErr_GetRaisedException());
#else
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return Reference::steal(value);
#endif
}

// Raises it.
inline void raise_exception(Reference exception) {
#if PY_VERSION_HEX >= 0x030c0000
  PyErr_SetRaisedException(exception.release());
#else
  PyErr_Restore(Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(exception.get()))),
                Py_NewRef(exception.get()), PyException_GetTraceback(exception.get()));
#endif
}

}  // namespace unirun::python
