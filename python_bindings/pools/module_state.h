// What the module unirun._pools knows in one interpreter: the Python classes that its types build
// on, told by unirun.executors.futures, and interned words.
//
// Thread: written while the module is imported, read with the GIL.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <array>

namespace unirun::bindings {

struct ModuleState {
  PyObject* future_class;         // unirun.executors.futures.Future
  PyObject* cancelled_error;      // concurrent.futures.CancelledError
  PyObject* invalid_state_error;  // concurrent.futures.InvalidStateError
  PyObject* condition_class;      // threading.Condition
  PyObject* log_callback;         // (future, exception): a callback has raised.
  PyObject* log_unexpected;       // (future, state): set_running_or_notify_cancel() came too late.
  PyTypeObject* thread_engine;    // ThreadEngine, which nobody makes by name.
  PyTypeObject* loop_bridge;      // LoopBridge
  PyTypeObject* map_run;          // MapRun
  PyObject* pickle_writer;        // Types of process_codec.h.
  PyObject* buffer_memory;
  PyTypeObject* interpreter_engine;
  PyTypeObject* interpreter_worker;
  std::array<PyObject*, 5> state_names;

  int traverse(visitproc visit, void* arg) const;
  void clear();
};

// Of the module that made `type` or one of its bases. Null: an exception is set.
[[nodiscard]] ModuleState* state_of(PyTypeObject* type);
[[nodiscard]] ModuleState* state_of(PyObject* module);

}  // namespace unirun::bindings
