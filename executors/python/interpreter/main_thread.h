// MainThread is the thread that Python calls the main one, which can be asked to let go of the GIL
// at its next bytecode: a thread of ours that comes for the GIL while Python code computes there
// has it within microseconds, and not after the switch interval (5 ms). From Python 3.13 on it is
// asked by a pending call; before, where those wait for the interval too, by SIGURG, if the program
// has no other use for that. What it may lose by this is bounded (YieldBudget); beyond that, and
// while another thread computes, the interval decides.
//
// Thread: any. One a process, as CPython's is.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <cstdint>

#include "executors/python/interpreter/yield_budget.h"
#include "executors/python/tasks/or_hang.h"
#include "framework/time.h"

namespace unirun::python {

class MainThread {
 public:
  // It can be asked from the next bytecode on that it executes. Thread: with the GIL.
  static void open();
  // It is not asked any more: Python ends, or this is a child of fork().
  static void close();

  // Waits for the GIL in `state`, which is the calling thread's. REQUIRES: not attached; the gate
  // is passed, or this thread is Python's own.
  static void take_gil(PyThreadState* state) {
#ifndef Py_GIL_DISABLED
    if (is_in_the_way(state)) return ask_and_take_gil(state);
#endif
    or_hang([state] { PyEval_RestoreThread(state); });
  }

 private:
  // An interpreter with a GIL of its own has nothing to do with it.
  static bool is_in_the_way(const PyThreadState* state) {
    PyThreadState* const main = state_.load(std::memory_order_acquire);
    if (main == nullptr || main->interp != state->interp) return false;
    const std::uint32_t turn = turn_.load(std::memory_order_acquire);
    return is_yielding(turn) || holds_gil(main) || turn_.load() != turn;
  }
  static bool is_yielding(std::uint32_t turn) { return turn % 2 != 0; }
  static bool holds_gil(PyThreadState* main) {
#if PY_VERSION_HEX >= 0x030c0000
    // Its own thread may change it just now: what we do about it is right either way.
    return static_cast<const volatile PyThreadState*>(main)->_status.active != 0;
#else
    return _PyThreadState_UncheckedGet() == main;  // Here that is whoever holds the one GIL.
#endif
  }

  static void ask_and_take_gil(PyThreadState* state);
  static void ask();
  static void send();
  static void doubt();

  // ---- On the main thread, with the GIL ----

  static int move_in(void* unused);
  static int let_others_in(void* unused);
  static PyObject* on_signal(PyObject* self, PyObject* arguments);
  static void wait_until_taken(Instant deadline);
  static bool install_handler();
  static bool is_handler_ours();

  inline static std::atomic<PyThreadState*> state_{nullptr};
  inline static std::atomic<std::uint32_t> turn_{0};     // Odd: it has let go, being asked.
  inline static std::atomic<std::uint32_t> waiting_{0};  // Those that came while it had the GIL.
  inline static std::atomic<Instant::rep> asked_at_{0};  // 0: it has answered.
  inline static std::atomic<bool> is_doubted_{false};    // It has not answered for long.
  inline static YieldBudget budget_;
};

}  // namespace unirun::python
