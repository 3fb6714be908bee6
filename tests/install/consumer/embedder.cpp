// docs/embedding.md's first program: Python off this thread, its answer in C++.
#include <Python.h>
// Python.h first.

#include <cstdio>

#include "unirun/executors/python/interpreter/gil_guard.h"
#include "unirun/executors/python/python_executor.h"

using unirun::python::GILGuard;
using unirun::python::PythonExecutor;

int main() {
  if (const auto started = PythonExecutor::start({.num_workers = 2, .preload = {"math"}});
      !started.ok()) {
    std::fprintf(stderr, "%s\n", started.error().message.c_str());
    return 1;
  }
  auto root = PythonExecutor::submit([] {
                PyObject* const math = PyImport_ImportModule("math");
                PyObject* const result =
                    math ? PyObject_CallMethod(math, "sqrt", "d", 1764.0) : nullptr;
                Py_XDECREF(math);
                return result;  // On a worker, with the GIL; null says that an exception is set.
              }).then([](PyObject* value) { return PyFloat_AsDouble(value); });
  const auto answer = root.get();
  std::printf("embedder: sqrt(1764) is %.0f\n", answer.ok() ? *answer : -1.0);
  return PythonExecutor::shutdown() == 0 && PythonExecutor::finalize().ok() && answer.ok() ? 0 : 1;
}
