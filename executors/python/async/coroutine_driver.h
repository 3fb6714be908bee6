// CoroutineDriver is the coroutine that asyncio sees: it passes everything on to the one of a task,
// and tells the task's loop of each step and of the end. So an outcome needs no callback of
// asyncio's, which would cost another turn of its loop, and no exception, SystemExit neither, gets
// as far as that loop.
//
// Thread: the loop's, with the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

class CoroutineLoop;
class CoroutineTask;

struct CoroutineDriver {
  PyObject ob_base;
  PyObject* coroutine;  // Or what an awaitable's __await__ gave.
  CoroutineLoop* loop;
  CoroutineTask* task;  // Null once it has ended.
};

// The type, for one interpreter. Null: an exception is set.
[[nodiscard]] Reference make_driver_type();

// Null: an exception is set; that `awaitable` is none, for example.
[[nodiscard]] Reference drive(PyObject* driver_type, PyObject* awaitable, CoroutineLoop& loop,
                              CoroutineTask& task);

}  // namespace unirun::python
