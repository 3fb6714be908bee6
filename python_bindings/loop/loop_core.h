// LoopCore is the native half of unirun.loop.EventLoop: what asyncio's loop does between two system
// calls, as a base class in C. The other half, transports and all, stays the standard library's.
//
// Thread: with the GIL.

#pragma once

#include "python_bindings/loop/turns.h"
#include "python_bindings/python.h"

namespace unirun::bindings {

struct LoopCore {
  PyObject ob_base;
  // What asyncio keeps as attributes of the same names, with an underscore.
  bool closed;
  bool debug;
  bool stopping;
  PyObject* thread_id;  // None while it does not run.
  Turns* turns;
};

// Makes the type, and those of handles. REQUIRES: called once. False: an exception is set.
[[nodiscard]] bool init_loop_core();
[[nodiscard]] PyTypeObject* loop_core_type();

[[nodiscard]] bool is_loop_core(PyObject* object);
inline LoopCore& as_loop_core(PyObject* object) { return *reinterpret_cast<LoopCore*>(object); }

}  // namespace unirun::bindings
