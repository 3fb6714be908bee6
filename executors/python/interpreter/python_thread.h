// PythonThread is this thread as Python knows it: its thread state, made once and kept until the
// thread ends (PyGILState makes a new one each time, at five times the price), and its place at the
// gate.
//
// The gate: CPython kills or hangs a thread that asks for the GIL once finalization has begun
// (cpython#87135, #124619), and asking first whether it has is a race. So whoever asks has entered
// before, and finalization begins when everybody has left.
//
// Thread: each its own.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "executors/python/tasks/or_hang.h"
#include "framework/time.h"

namespace unirun::python {

class PythonThread {
 public:
  // The calling thread's.
  [[nodiscard]] static PythonThread& current();

  PythonThread(const PythonThread&) = delete;
  PythonThread& operator=(const PythonThread&) = delete;

  // The state with which this thread holds the GIL, of whichever interpreter; null: it does not.
  [[nodiscard]] static PyThreadState* attached_state();
  // Of that interpreter; -1: it does not hold the GIL.
  [[nodiscard]] static std::int64_t interpreter_id();

  // Waits for the GIL, in the state that this thread has, which is made the first time: of the
  // interpreter that brought the thread along, else of the main one. False: there is no
  // interpreter, or it is ending. REQUIRES: not attached.
  [[nodiscard]] bool attach();
  // The same, of the main interpreter whatever brought the thread along.
  [[nodiscard]] bool attach_to_main();
  // Ends what attach() began. REQUIRES: attached.
  void leave();

  // From now on it runs for the interpreter of this state of its own; null: for whichever brings it
  // along. Gives what was set before.
  PyThreadState* settle_in(PyThreadState* home) { return std::exchange(home_, home); }
  // As leave(), when the interpreter has ended and nothing is attached any more.
  void leave_ended();

 private:
  friend class Gate;
  PythonThread();
  ~PythonThread();
  [[nodiscard]] PyThreadState* find_state();
  [[nodiscard]] PyThreadState* find_main_state();
  void take_gil(PyThreadState* state);

  std::atomic<std::size_t> inside_{0};  // Attachments that have begun and not ended.
  PyThreadState* home_ = nullptr;       // What it runs for.
  PyThreadState* made_ = nullptr;       // By this, for the thread, in the main interpreter.
  std::size_t life_ = 0;                // Of the interpreter for which it was made.
};

// One a process, as CPython is.
class Gate {
 public:
  // From now on threads may attach. Thread: with the GIL.
  static void open();
  [[nodiscard]] static bool is_open();
  // Refuses whoever comes, and waits until those inside have left. False: they had not after
  // `timeout`, and the gate stands open again. Thread: without the GIL.
  [[nodiscard]] static bool close(Duration timeout);
  // The same, but it stays shut, whoever is still inside.
  static bool close_for_good(Duration timeout);
  // In a child of fork(), where the caller is the only thread: shut, and nobody is inside.
  static void forget();

 private:
  friend class PythonThread;
  [[nodiscard]] static bool enter(PythonThread& thread);
  static void leave(PythonThread& thread);
  [[nodiscard]] static bool is_empty();
};

}  // namespace unirun::python
