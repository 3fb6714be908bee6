// Raising an exception in a thread that runs Python code, and when not to. REQUIRES: the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <string_view>
#include <vector>

#include "executors/python/interpreter/has_gil.h"

namespace unirun::python {

// Has `exception` raised in the thread that Python knows by this id, when it next runs Python code;
// null: takes back what has not been raised yet. False: there is no such thread.
inline bool raise_in_thread(unsigned long id, PyObject* exception) {
#if PY_VERSION_HEX < 0x030C0000
  // Up to 3.11 a thread that is being started bears the id of the one that starts it, and is found
  // first. It would die before it has said that it lives, and its parent waits for that for ever.
  // It takes its own id without the GIL, so who bears this one is asked before anything is set, and
  // the eldest is the one that is meant.
  std::vector<PyThreadState*> bearers;
  PyThreadState* state = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
  for (; state != nullptr; state = PyThreadState_Next(state)) {
    if (state->thread_id == id) bearers.push_back(state);
  }
  const int found = PyThreadState_SetAsyncExc(id, exception);
  if (bearers.size() < 2) return found > 0;
  PyThreadState* const meant = bearers.back();
  bearers.pop_back();
  for (PyThreadState* const newborn : bearers) Py_CLEAR(newborn->async_exc);
  Py_XSETREF(meant->async_exc, Py_XNewRef(exception));
  return true;
#else
  return PyThreadState_SetAsyncExc(id, exception) > 0;
#endif
}

// Whether Python's import machinery is at work in the thread whose state this is: an exception that
// is raised among its own statements leaves the lock of a module held for ever, and whoever imports
// it next hangs. So who wants to raise one then does so a moment later.
[[nodiscard]] inline bool is_importing(PyThreadState* state) {
  // Without a GIL nobody may look at the frames of a thread that runs.
  if (!has_gil()) return false;
  const Reference frame =
      Reference::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(state)));
  if (!frame) return false;
  PyCodeObject* const code = PyFrame_GetCode(reinterpret_cast<PyFrameObject*>(frame.get()));
  const Reference held = Reference::steal(reinterpret_cast<PyObject*>(code));
  const char* const file = PyUnicode_AsUTF8(code->co_filename);
  if (file == nullptr) PyErr_Clear();
  return file != nullptr && std::string_view(file).starts_with("<frozen importlib.");
}

}  // namespace unirun::python
