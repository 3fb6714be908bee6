// CallerVariables keeps the context variables of the Python code that has called a C++ function,
// for what that begins while the GIL is let go of, or on a loop: a trace id goes along.
//
// Thread: each its own, for a scope; of_python() with the GIL.

#pragma once

#include <utility>

#include "executors/python/python.h"
// Python.h first.

#include "executors/python/values/ref.h"

namespace unirun::python {

class CallerVariables {
 public:
  // A copy of those that the Python code on this thread sees; of nothing where none was ever set.
  [[nodiscard]] static Ref of_python() {
    if (PyThreadState_Get()->context == nullptr) return {};
    return Ref::steal(PyContext_CopyCurrent());
  }

  // Those of the C++ function that runs here.
  [[nodiscard]] static Ref of_function() { return current; }

  explicit CallerVariables(Ref variables) : outer_(std::exchange(current, std::move(variables))) {}
  ~CallerVariables() { current = std::move(outer_); }
  CallerVariables(const CallerVariables&) = delete;
  CallerVariables& operator=(const CallerVariables&) = delete;

 private:
  inline static thread_local Ref current;
  Ref outer_;
};

}  // namespace unirun::python
