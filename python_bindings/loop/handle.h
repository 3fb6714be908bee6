// Handle and TimerHandle are subclasses in C of asyncio's own, with the very same slots: whatever
// the standard library does with a handle works on ours, and ours are made, cancelled and run
// without its Python code. They come from free lists.
//
// Thread: with the GIL.

#pragma once

#include "python_bindings/python.h"

namespace unirun::bindings {

// Makes the two types. REQUIRES: called once, before all else here. False: an exception is set.
[[nodiscard]] bool init_handles();

[[nodiscard]] PyTypeObject* handle_type();
[[nodiscard]] PyTypeObject* timer_handle_type();

// What a call is made of. `args` is a tuple; without a context it is a copy of the current one.
struct Call {
  PyObject* callback;
  PyObject* args;
  PyObject* context;  // Or nullptr.
};

// New handles of `loop`. Empty: an exception is set.
[[nodiscard]] Reference make_handle(PyObject* loop, const Call& call);
[[nodiscard]] Reference make_timer_handle(PyObject* loop, PyObject* when, const Call& call);

// Where a handle was made: a debugging loop says so.
void set_source_traceback(PyObject* handle, PyObject* traceback);

// Of ours or of asyncio's own two types: the functions below may be used on it.
[[nodiscard]] bool is_plain_handle(PyObject* handle);
[[nodiscard]] bool is_cancelled(PyObject* handle);
[[nodiscard]] bool is_scheduled(PyObject* timer_handle);
void set_scheduled(PyObject* timer_handle, bool scheduled);

// The context that it is called in, borrowed.
[[nodiscard]] PyObject* context_of(PyObject* handle);

// Calls what the handle holds, in its context. Empty: an exception is set.
[[nodiscard]] Reference call_handle(PyObject* handle);

}  // namespace unirun::bindings
