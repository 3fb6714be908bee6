// A Python that runs, for tests that need nothing of the executor: the test has the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <string>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {

class WithPython {
 public:
  ~WithPython() {
    CHECK_MESSAGE(PyErr_Occurred() == nullptr, "an exception is left on the thread");
    PyErr_Clear();
  }

 protected:
  // Runs statements in the test's own names; whatever they raise fails the test.
  void run(const std::string& code) {
    const Reference done =
        Reference::steal(PyRun_String(code.c_str(), Py_file_input, names_.get(), names_.get()));
    if (!done) FAIL(error_of_exception().traceback);
  }

  // The value of an expression.
  Reference eval(const std::string& code) {
    Reference value =
        Reference::steal(PyRun_String(code.c_str(), Py_eval_input, names_.get(), names_.get()));
    if (!value) FAIL(error_of_exception().traceback);
    return value;
  }

  // Whether an expression is true, with `it` for the object.
  bool holds(PyObject* it, const std::string& expression) {
    PyDict_SetItemString(names_.get(), "it", it);
    const int truth = PyObject_IsTrue(eval(expression).get());
    PyDict_DelItemString(names_.get(), "it");
    return truth == 1;
  }

  // What the statements raise, set on this thread.
  void raise(const std::string& code) {
    const Reference done =
        Reference::steal(PyRun_String(code.c_str(), Py_file_input, names_.get(), names_.get()));
    REQUIRE_FALSE(done);
  }

 private:
  // Started once: CPython does not survive a second start.
  static bool started() {
    const Result<void> result = Interpreter::start({});
    if (!result.ok()) FAIL(result.error().message);
    return true;
  }

  Reference fresh_names() {
    Reference names = Reference::steal(PyDict_New());
    PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins());
    PyDict_SetItemString(names.get(), "__name__",
                         Reference::steal(PyUnicode_FromString("test")).get());
    return names;
  }

  bool started_ = started();
  GILGuard gil_;
  Reference names_ = fresh_names();
};

}  // namespace unirun::python
