// InMainInterpreter holds the GIL of the main interpreter for a scope, whichever interpreter this
// thread runs for and whichever GIL it holds, which it has again afterwards: loops live there, and
// workers may have interpreters of their own.
//
// Thread: a scope's, like the guards in gil_guard.h, among which it nests.

#pragma once

#include "executors/python/interpreter/gil_guard.h"

namespace unirun::python {

class InMainInterpreter {
 public:
  InMainInterpreter() : attached_(PythonThread::current().attach_to_main()) {}
  ~InMainInterpreter() {
    if (attached_) PythonThread::current().leave();
  }
  InMainInterpreter(const InMainInterpreter&) = delete;
  InMainInterpreter& operator=(const InMainInterpreter&) = delete;

  // False: there is no interpreter, or it is ending, and Python must not be touched.
  [[nodiscard]] bool attached() const noexcept { return attached_; }

 private:
  const GILRelease outer_;
  const bool attached_;
};

}  // namespace unirun::python
