// LoopBridge brings results from a pool's threads to one asyncio loop. Threads leave them in a list
// and ring once, by an eventfd that the loop watches; deliver(), called by the loop, sets them all.
// No call_soon_threadsafe for each.
//
// Thread: with the GIL, or the object's lock; deliver() in the loop's thread.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include "python_bindings/pools/wakes.h"

namespace unirun::bindings {

struct LoopBridge;

// What a task owes to a loop instead of to a Future.
struct Errand {
  LoopBridge* bridge;
  PyObject* awaited;  // The asyncio future.
  PyObject* context;  // Context variables of who asked.

  int traverse(visitproc visit, void* arg) const;
};

// Makes the type and adds it to the module. False: an exception is set.
[[nodiscard]] bool init_loop_bridge(PyObject* module);

// For `awaited`, in a copy of the current context. `bridge` is a LoopBridge, or a TypeError is set.
// Null: an exception is set.
[[nodiscard]] Errand* make_errand(PyObject* bridge, PyObject* awaited);
void destroy_errand(Errand* errand);

// Whether nobody waits for it any more.
[[nodiscard]] bool is_cancelled(const Errand* errand);

// Leaves the outcome, one of the two, to the loop, which is rung by `wakes`. References are taken
// over.
void deliver(const Errand* errand, PyObject* result, PyObject* exception, Wakes& wakes);

}  // namespace unirun::bindings
