// ThreadEngine: the queue of a thread pool and the loop that its threads run.
//
// The threads are threading.Thread objects that call work(); the queue is guarded by the GIL
// itself. Who is awake drains the queue under one hold of the GIL. A submission wakes at most one
// worker, which calls the next when it finds more than its own task: so a burst costs a wake or
// two, and a task that blocks holds nobody up.
//
// Thread: with the GIL (or, where there is none, the object's lock), but for what is atomic.

#pragma once

#include "python_bindings/pools/module_state.h"
// Python.h first.

#include <cstddef>

#include "python_bindings/pools/future.h"
#include "python_bindings/pools/sleepers.h"
#include "python_bindings/pools/statistics.h"
#include "python_bindings/pools/task.h"
#include "python_bindings/pools/wakes.h"

namespace unirun::bindings {

struct ThreadEngine {
  Completer completer;
  PyTypeObject* future_class;
  TaskQueue queue;
  Sleepers sleepers;
  std::size_t threads;  // In work(), or on their way there.
  std::size_t limit;
  std::size_t running;  // Tasks.
  std::size_t stale;    // Tasks that were cancelled and still stand in the queue.
  bool closed;          // No more submissions: shut down, or the executor is gone.
  bool exiting;         // The interpreter ends.
  Statistics statistics;
};

// Makes the type ThreadEngine and adds it to the module. False: an exception is set.
[[nodiscard]] bool init_thread_engine(PyObject* module);

// A new one for at most `limit` threads. Null: an exception is set.
[[nodiscard]] ThreadEngine* make_thread_engine(const ModuleState& state, std::size_t limit);

// Queues the task. True: a thread more is wanted, and counted; leave() counts one that could not be
// started.
[[nodiscard]] bool push_task(ThreadEngine* engine, Task* task, Wakes& wakes);

// Where there is no thread at all, takes the task back: true, it will never run and is the
// caller's.
[[nodiscard]] bool take_back(ThreadEngine* engine, const Task* task);

// No more submissions; the workers end when the queue is empty.
void close_engine(ThreadEngine* engine, Wakes& wakes);

}  // namespace unirun::bindings
