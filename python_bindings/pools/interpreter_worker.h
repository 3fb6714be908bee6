// InterpreterWorker: a thread of a pool in an interpreter with its own GIL. The thread has a thread
// state in each of both interpreters and changes between them; functions are fetched once and kept.
//
// Thread: the one that made it.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

namespace unirun::bindings {

struct InterpreterEngine;

// Makes the type and adds it to the module. False: an exception is set.
[[nodiscard]] bool init_interpreter_worker(PyObject* module);

// Creates an interpreter. Null: an exception is set.
[[nodiscard]] PyObject* make_interpreter_worker(InterpreterEngine* engine);

// A function or class of a module: it is found there under its name, and stays the same.
[[nodiscard]] bool is_known_by_name(PyObject* callable);

}  // namespace unirun::bindings
