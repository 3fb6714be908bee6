// InterpreterEngine: the queue of a pool of interpreters, and what comes back from them.
//
// The workers are threads that run tasks in an interpreter of their own, under its own GIL, so the
// queue is guarded by a lock of its own: a worker goes from task to task without the GIL of the
// home interpreter. Outcomes are bytes on the list `done` until somebody holds the home GIL:
//
//   submit() -> queue -> a worker runs it -> done -> deliver() completes the future
//
// deliver() is called by the worker that has run out of tasks. While the queue is long it is left
// to the guard, a thread that looks every 200 us as long as there is something, so that a burst
// costs a few turns of the home GIL and a task that blocks keeps no other's outcome back.
//
// Thread: any; with the lock, but for what is atomic. Nobody calls Python with the lock held.

#pragma once

#include "python_bindings/pools/module_state.h"
// Python.h first.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "python_bindings/pools/future.h"
#include "python_bindings/pools/interpreter_task.h"
#include "python_bindings/pools/sleepers.h"
#include "python_bindings/pools/statistics.h"
#include "python_bindings/pools/wakes.h"

namespace unirun::bindings {

struct InterpreterEngine {
  Completer completer;
  PyTypeObject* future_class;
  PyObject* hooks;  // The Python class that makes errors: failure(), unsendable(), unreadable().
  PyObject* dumps;  // _pickle.dumps, .loads of the home interpreter.
  PyObject* loads;
  // Functions by identity, as they are known to the workers. With the home GIL.
  std::vector<PyObject*> functions;
  std::unordered_map<PyObject*, std::size_t> places;

  std::mutex lock;
  InterpreterTasks queue;
  InterpreterTasks done;
  Sleepers sleepers;
  std::size_t threads;  // Started, or about to be.
  std::size_t limit;
  std::size_t running;  // Tasks.
  bool closed;          // No more submissions: shut down, or the executor is gone.
  bool exiting;         // The interpreter ends.
  bool guarded;         // There is a guard.
  Statistics statistics;

  std::atomic<bool> on_the_way;      // Somebody is about to hold the home GIL for deliver().
  std::atomic<std::uint32_t> guard;  // Guard, below: the word that the guard sleeps on.
};

enum Guard : std::uint32_t { guard_sleeps, guard_watches, guard_leaves };

// Makes the type and adds it to the module. False: an exception is set.
[[nodiscard]] bool init_interpreter_engine(PyObject* module);

// For at most `limit` threads. Null: an exception is set.
[[nodiscard]] InterpreterEngine* make_interpreter_engine(const ModuleState& state,
                                                         std::size_t limit, PyObject* hooks);

// Where the workers know `callable` by a number. not_in_table: they do not, it is to travel each
// time.
[[nodiscard]] std::size_t place_of(InterpreterEngine* engine, PyObject* callable);

// Queues the task. True: a thread more is wanted, and counted; leave() counts one off that could
// not be had. REQUIRES: the home GIL.
[[nodiscard]] bool push_task(InterpreterEngine* engine, InterpreterTask* task, Wakes& wakes);

// Where no thread is left for it. True: the task is the caller's again.
[[nodiscard]] bool take_back(InterpreterEngine* engine, const InterpreterTask* task);

// The next task, counted as running. Null: there is none, and the worker is parked, or is to leave.
[[nodiscard]] InterpreterTask* take_task(InterpreterEngine* engine, Sleeper& sleeper,
                                         bool& searches, Wakes& wakes);

// The task has an ending.
void put_done(InterpreterEngine* engine, InterpreterTask* task, Duration waited, Duration ran);

// Before a worker that took a task runs it: whether it delivers what is done first, for few are
// queued, or leaves that to the guard.
[[nodiscard]] bool is_to_deliver(InterpreterEngine* engine);

// Completes the future of a task that has its ending. REQUIRES: the home GIL.
void complete(InterpreterEngine* engine, InterpreterTask* task, Wakes& wakes);

// Completes the futures of what is done, with the GIL of `home`, unless somebody else is about to.
// `sleeper`: of the parked worker that calls, or null. REQUIRES: no interpreter is attached.
void deliver(InterpreterEngine* engine, PyThreadState* home, Sleeper* sleeper);

// Sees to it that what is done is delivered soon, whatever this thread does next.
void rouse_guard(InterpreterEngine* engine);

// After a sleep. True: the worker is to leave, and counted off.
[[nodiscard]] bool is_to_leave(InterpreterEngine* engine, bool& searches);

// A thread that was wanted, or started, does not begin.
void leave(InterpreterEngine* engine);

// No more submissions; the workers go when the queue is empty.
void close_engine(InterpreterEngine* engine, Wakes& wakes);

}  // namespace unirun::bindings
