// Taking the GIL on threads that Python did not start. While an interpreter ends, CPython ends
// every other thread that asks for its GIL: by pthread_exit() up to 3.13, which unwinds C++ frames
// and must not, for it would run destructors that touch Python. Such a thread waits here for the
// end of the process instead, as CPython 3.14 has it wait by itself.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <cxxabi.h>
#include <unistd.h>

namespace unirun::bindings {

// Calls `step`, one call into CPython that may take the GIL back and has nothing to destroy.
template <class Step>
auto or_hang(Step step) {
  try {
    return step();
  } catch (abi::__forced_unwind&) {
    for (;;) ::pause();
  }
}

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
