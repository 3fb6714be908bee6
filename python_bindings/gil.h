// Taking the GIL on threads that Python did not start, and letting go of it.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include "executors/python/tasks/or_hang.h"

namespace unirun::bindings {

using python::or_hang;

// Holds the GIL, in a thread state of this thread's own where it has none yet.
class Gil {
 public:
  Gil() : state_(or_hang([] { return PyGILState_Ensure(); })) {}
  ~Gil() { PyGILState_Release(state_); }
  Gil(const Gil&) = delete;
  Gil& operator=(const Gil&) = delete;

 private:
  PyGILState_STATE state_;
};

// Calls `wait` without the GIL. REQUIRES: the GIL; `wait` does not throw.
template <class Wait>
auto without_gil(Wait wait) {
  PyThreadState* const state = PyEval_SaveThread();
  auto result = wait();
  or_hang([state] { PyEval_RestoreThread(state); });
  return result;
}

// Calls `function` with `argument`; null with the error set where it raised. REQUIRES: the GIL.
inline PyObject* call(PyObject* function, PyObject* argument) {
  return or_hang([=] { return PyObject_CallOneArg(function, argument); });
}

}  // namespace unirun::bindings
