// GILGuard holds the GIL for a scope, GILRelease lets go of it for a scope. Both nest, in each
// other and in themselves, on any thread: of C++, of Python, of a sub-interpreter.
//
// Thread: a guard belongs to the scope that made it. What waits for anything but the GIL lets go of
// it first.

#pragma once

#include "executors/python/interpreter/main_thread.h"
#include "executors/python/interpreter/python_thread.h"

namespace unirun::python {

class GILGuard {
 public:
  // Waits for the GIL: of the interpreter for which this thread runs, else of the main one. Does
  // nothing where this thread holds one.
  GILGuard() : thread_(PythonThread::current()) {
    if (PythonThread::attached_state() != nullptr) {
      attached_ = true;
    } else {
      attached_ = entered_ = thread_.attach();
    }
  }
  ~GILGuard() {
    if (entered_) thread_.leave();
  }
  GILGuard(const GILGuard&) = delete;
  GILGuard& operator=(const GILGuard&) = delete;

  // False: there is no interpreter, or it is ending, and Python must not be touched.
  [[nodiscard]] bool attached() const noexcept { return attached_; }

 private:
  PythonThread& thread_;
  bool attached_ = false;
  bool entered_ = false;
};

class GILRelease {
 public:
  // Does nothing where this thread does not hold the GIL.
  GILRelease() {
    if (PythonThread::attached_state() != nullptr) state_ = PyEval_SaveThread();
  }
  ~GILRelease() {
    if (state_ != nullptr) MainThread::take_gil(state_);
  }
  GILRelease(const GILRelease&) = delete;
  GILRelease& operator=(const GILRelease&) = delete;

 private:
  PyThreadState* state_ = nullptr;
};

}  // namespace unirun::python
