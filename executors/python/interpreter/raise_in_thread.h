// Raising an exception in a thread that runs Python code, and when not to. REQUIRES: the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <string_view>
#include <utility>
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

// The text of a string of Python's, which lives as long as that; empty where it has none.
[[nodiscard]] inline std::string_view view_of(PyObject* string) {
  const char* const text = PyUnicode_AsUTF8(string);
  if (text == nullptr) PyErr_Clear();
  return text != nullptr ? text : "";
}

// Whether an exception that is raised now in the thread whose state this is would do harm or be
// lost. Among the statements of Python's import machinery it leaves the lock of a module held for
// ever, and whoever imports it next hangs; what is raised on top of a __del__ Python prints and
// forgets. So who wants to raise one then does so a moment later.
[[nodiscard]] inline bool is_out_of_reach(PyThreadState* state) {
  // Without a GIL nobody may look at the frames of a thread that runs.
  if (!has_gil()) return false;
  // Up to 3.11 a frame that is made for us could set off a collection, which lets other threads in.
  const bool collects = PyGC_Disable() != 0;
  bool is_out = false;
  bool is_innermost = true;
  const auto object = [](auto* made) { return reinterpret_cast<PyObject*>(made); };
  Reference frame = Reference::steal(object(PyThreadState_GetFrame(state)));
  while (frame && !is_out) {
    auto* const entered = reinterpret_cast<PyFrameObject*>(frame.get());
    PyCodeObject* const code = PyFrame_GetCode(entered);
    const Reference held = Reference::steal(object(code));
    is_out = view_of(code->co_name) == "__del__" ||
             (std::exchange(is_innermost, false) &&
              view_of(code->co_filename).starts_with("<frozen importlib."));
    frame = Reference::steal(object(PyFrame_GetBack(entered)));
  }
  if (collects) PyGC_Enable();
  return is_out;
}

}  // namespace unirun::python
