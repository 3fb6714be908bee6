// What the tests of coroutines share: an executor, and a Python module of the test's own.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <string>
#include <thread>

#include "executors/python/python_executor.h"
#include "executors/python/values/exception_text.h"
#include "framework/clock.h"
#include "tests/python_executor/executor_fixture.h"

namespace unirun::python {

template <class T>
Errc code_of(const Result<T>& result) {
  return result.ok() ? Errc::ok : result.error().code;
}

template <class T>
std::string text_of(const Result<T>& result) {
  return result.ok() ? "" : result.error().message + result.error().traceback;
}

// An executor as long as it lives, in which the module "scene" holds what `code` defines.
class Scene {
 public:
  explicit Scene(const char* code, PythonExecutor::Config config = {.num_workers = 1}) {
    const auto started = PythonExecutor::start(config);
    REQUIRE_MESSAGE(started.ok(), text_of(started));
    define(code);
  }
  ~Scene() {
    if (PythonExecutor::is_initialized())
      static_cast<void>(PythonExecutor::shutdown({.drain = Duration::zero()}));
  }

  // The value of an expression among the names of the module, on a worker.
  static Value value_of(const std::string& expression) {
    auto value = PythonExecutor::async_call("scene", "value_of", {expression}).get();
    REQUIRE_MESSAGE(value.ok(), text_of(value));
    return *std::move(value);
  }

  // Until it is true of the names of the module.
  static void wait_until(const std::string& expression) {
    const Instant last = SystemClock().now() + patience;
    while (value_of(expression) != Value(true)) {
      REQUIRE_MESSAGE(SystemClock().now() < last, expression);
      std::this_thread::sleep_for(1ms);
    }
  }

 private:
  static void define(const char* code) {
    auto defined = PythonExecutor::submit([code]() -> Result<void> {
      const Reference module = Reference::steal(PyModule_New("scene"));
      PyObject* const names = PyModule_GetDict(module.get());
      PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
      const std::string all =
          "def value_of(expression): return eval(expression, globals())\n" + std::string(code);
      if (!Reference::steal(PyRun_String(all.c_str(), Py_file_input, names, names)) ||
          PyDict_SetItemString(PyImport_GetModuleDict(), "scene", module.get()) != 0)
        return error_of_exception();
      return {};
    });
    const auto done = defined.get();
    REQUIRE_MESSAGE(done.ok(), text_of(done));
  }
};

}  // namespace unirun::python
