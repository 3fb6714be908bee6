// Raising an exception in a thread that runs Python code. REQUIRES: the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <utility>

namespace unirun::python {

// Has `exception` raised in the thread that Python knows by this id, when it next runs Python code;
// null: takes back what has not been raised yet. False: there is no such thread.
inline bool raise_in_thread(unsigned long id, PyObject* exception) {
  const int found = PyThreadState_SetAsyncExc(id, exception);
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
  return found > 0;
}

}  // namespace unirun::python
