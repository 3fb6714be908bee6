// How Python code calls a NativeFunction: waits for what it gives, or awaits it.
//
// Thread: with the GIL of the interpreter whose code calls.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <memory>

#include "executors/python/callbacks/calling_process.h"
#include "executors/python/callbacks/native_function.h"

namespace unirun::python {

// As CPython's vectorcall hands it over, `count` without its flag.
struct PythonArguments {
  PyObject* const* values;
  Py_ssize_t count;
  PyObject* names;  // A tuple, of the values behind the first `count`; or null.
};

// A new reference; null: an exception is set. While it waits, a worker serves what else there is to
// do, and everybody lets go of the GIL. RuntimeError: the function is FunctionOptions::async, and a
// coroutine's loop would wait for it.
[[nodiscard]] PyObject* call_native(const std::shared_ptr<NativeFunction>& function,
                                    const PythonArguments& arguments);

// The same, as a future of the asyncio loop that runs on this thread; RuntimeError: none does.
[[nodiscard]] PyObject* async_call_native(const std::shared_ptr<NativeFunction>& function,
                                          const PythonArguments& arguments);

// For another process, or nobody in particular: calls it here and now, or has it called on its
// loop. A C++ exception comes as the Error of what raise_cpp_exception() would raise. Thread: any
// that may block; with the GIL or without.
[[nodiscard]] Shared<Outcome<Value>> start_native(const std::shared_ptr<NativeFunction>& function,
                                                  Args args, Kwargs kwargs,
                                                  std::shared_ptr<const CallingProcess> process);

}  // namespace unirun::python
