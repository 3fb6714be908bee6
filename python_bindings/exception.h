// The exception that is set, as an object, whatever the version of Python. REQUIRES: the GIL.

#pragma once

#include "python_bindings/python.h"

namespace unirun::bindings {

// Takes it off the thread, normalized and with its traceback. REQUIRES: one is set.
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

// Has `exception` raised in the thread that Python knows by this id, when it next runs Python code;
// null: takes back what has not been raised yet.
inline void raise_in_thread(unsigned long id, PyObject* exception) {
  PyThreadState_SetAsyncExc(id, exception);
#if PY_VERSION_HEX < 0x030C0000
  // Up to 3.11 a thread that is being started bears the id of the one that starts it, and is found
  // first. It would die before it has said that it lives, and its parent waits for that for ever.
  PyThreadState* first = nullptr;
  PyThreadState* eldest = nullptr;
  PyThreadState* state = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
  for (; state != nullptr; state = PyThreadState_Next(state)) {
    if (state->thread_id != id) continue;
    if (first == nullptr) first = state;
    eldest = state;
  }
  if (first != eldest) Py_XSETREF(eldest->async_exc, std::exchange(first->async_exc, nullptr));
#endif
}

}  // namespace unirun::bindings
