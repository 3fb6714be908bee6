// GILGuard holds the GIL for a scope, GILRelease lets go of it for a scope. Both nest, in each
// other and in themselves, on any thread: of C++, of Python, and from Python 3.12 on, which can
// say whose state a thread holds, of a sub-interpreter.
//
// Thread: a guard belongs to the scope that made it, and ends before those that were there before
// it, which assert() checks. What waits for anything but the GIL lets go of it first.

#pragma once

#include "executors/python/interpreter/guard_order.h"
#include "executors/python/interpreter/main_thread.h"
#include "executors/python/interpreter/python_thread.h"

namespace unirun::python {

class Context;

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
  // Waits for the GIL of the context's interpreter, whichever one this thread holds, which it has
  // again afterwards; one with a GIL of its own is its worker's alone: not attached, submit() a
  // task for the context. REQUIRES: valid().
  explicit GILGuard(const Context& context);
  ~GILGuard() {
    order_.end();
    if (entered_) thread_.leave();
    if (outer_ != nullptr) MainThread::take_gil(outer_);
  }
  GILGuard(const GILGuard&) = delete;
  GILGuard& operator=(const GILGuard&) = delete;

  // False: there is no interpreter, or it is ending, and Python must not be touched.
  [[nodiscard]] bool attached() const noexcept { return attached_; }

 private:
  const GuardOrder order_;
  PythonThread& thread_;
  PyThreadState* outer_ = nullptr;  // Let go of meanwhile, being of another interpreter.
  bool attached_ = false;
  bool entered_ = false;
};

class GILRelease {
 public:
  // Does nothing where this thread does not hold the GIL.
  GILRelease() {
    if (PythonThread::attached_state() == nullptr) return;
    state_ = PyEval_SaveThread();
    outer_home_ = PythonThread::current().settle_in(state_);
  }
  ~GILRelease() {
    order_.end();
    if (state_ == nullptr) return;
    PythonThread::current().settle_in(outer_home_);
    MainThread::take_gil(state_);
  }
  GILRelease(const GILRelease&) = delete;
  GILRelease& operator=(const GILRelease&) = delete;

 private:
  const GuardOrder order_;
  PyThreadState* state_ = nullptr;
  PyThreadState* outer_home_ = nullptr;
};

}  // namespace unirun::python
