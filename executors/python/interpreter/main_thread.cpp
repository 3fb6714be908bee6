#include "executors/python/interpreter/main_thread.h"

#include <pthread.h>

#include <csignal>
#include <utility>

#include "executors/python/interpreter/python_thread.h"
#include "executors/python/values/exception.h"
#include "framework/clock.h"
#include "framework/futex.h"

namespace unirun::python {
namespace {

#if PY_VERSION_HEX < 0x030d0000
#define UNIRUN_ASK_BY_SIGNAL
#endif

// So long it lets nobody of ours wait in vain for the GIL that it has let go of.
constexpr Duration yield_patience = std::chrono::milliseconds(1);
// After that a request is taken for lost: as by a call into C that holds the GIL.
constexpr Duration answer_patience = std::chrono::milliseconds(10);

#ifdef UNIRUN_ASK_BY_SIGNAL
constexpr int request_signal = SIGURG;  // Nothing happens to a program that does not know it.
std::atomic<pthread_t> signalled_thread{};
#endif

Instant::rep now() { return SystemClock().now().time_since_epoch().count(); }

}  // namespace

void MainThread::open() {
#ifndef Py_GIL_DISABLED
  asked_at_.store(0);
  is_doubted_.store(false);
  waiting_.store(0);
  turn_.store(0);
  static_cast<void>(Py_AddPendingCall(move_in, nullptr));  // Else the interval decides, as ever.
#endif
}

void MainThread::close() { state_.store(nullptr); }

// ---- Those who come for the GIL ----

void MainThread::ask_and_take_gil(PyThreadState* state) {
  waiting_.fetch_add(1);
  ask();
  or_hang([state] { PyEval_RestoreThread(state); });
  if (waiting_.fetch_sub(1) == 1 && is_yielding(turn_.load())) futex_wake(waiting_, 1);
  if (is_doubted_.load(std::memory_order_relaxed)) doubt();
}

void MainThread::ask() {
  if (is_yielding(turn_.load())) return;  // It looks again who waits.
  const Instant::rep at = now();
  if (!budget_.allows(Instant(Duration(at)))) return;
  Instant::rep asked_at = asked_at_.load();
  if (asked_at != 0) {
    if (at - asked_at > answer_patience.count()) is_doubted_.store(true);
    return;
  }
  if (asked_at_.compare_exchange_strong(asked_at, at)) send();
}

void MainThread::send() {
#ifdef UNIRUN_ASK_BY_SIGNAL
  ::pthread_kill(signalled_thread.load(), request_signal);
#else
  if (Py_AddPendingCall(let_others_in, nullptr) != 0) asked_at_.store(0);
#endif
}

// With the GIL: whether it is worth while to ask again.
void MainThread::doubt() {
  is_doubted_.store(false);
#ifdef UNIRUN_ASK_BY_SIGNAL
  Reference raised = take_exception();  // This may be the midst of anything.
  const bool is_ours = is_handler_ours();
  if (raised) raise_exception(std::move(raised));
  if (!is_ours) return close();
#endif
  asked_at_.store(0);
}

// ---- The main thread ----

int MainThread::move_in(void* /*unused*/) {
  PyThreadState* const state = PyThreadState_Get();
  if (!Gate::is_open() || state->interp != PyInterpreterState_Main()) return 0;
#ifdef UNIRUN_ASK_BY_SIGNAL
  if (!is_handler_ours() && !install_handler()) {
    PyErr_Clear();
    return 0;
  }
  signalled_thread.store(::pthread_self());
#endif
  state_.store(state, std::memory_order_release);
  return 0;
}

int MainThread::let_others_in(void* /*unused*/) {
  asked_at_.store(0);
  const SystemClock clock;
  for (Instant begin = clock.now(); waiting_.load() != 0 && budget_.allows(begin);) {
    turn_.fetch_add(1);
    PyThreadState* const state = PyEval_SaveThread();
    wait_until_taken(begin + yield_patience);
    or_hang([state] { PyEval_RestoreThread(state); });
    turn_.fetch_add(1);
    const Instant end = clock.now();
    budget_.charge(begin, end - begin);
    begin = end;
  }
  return 0;
}

// Who takes the GIL back at once has it before those who wait have woken.
void MainThread::wait_until_taken(Instant deadline) {
  for (;;) {
    const std::uint32_t waiting = waiting_.load();
    if (waiting == 0 || futex_wait(waiting_, waiting, &deadline) == ETIMEDOUT) return;
  }
}

PyObject* MainThread::on_signal(PyObject* /*self*/, PyObject* /*arguments*/) {
  let_others_in(nullptr);
  Py_RETURN_NONE;
}

// ---- The signal ----

#ifdef UNIRUN_ASK_BY_SIGNAL
namespace {

Reference handler_of(int signal) {
  const Reference module = Reference::steal(PyImport_ImportModule("_signal"));
  if (!module) return {};
  return Reference::steal(PyObject_CallMethod(module.get(), "getsignal", "i", signal));
}

}  // namespace
#endif

bool MainThread::is_handler_ours() {
#ifdef UNIRUN_ASK_BY_SIGNAL
  const Reference handler = handler_of(request_signal);
  if (!handler) PyErr_Clear();
  return handler && PyCFunction_Check(handler.get()) != 0 &&
         PyCFunction_GetFunction(handler.get()) == on_signal;
#else
  return true;
#endif
}

// False: the program uses the signal, or an exception is set.
bool MainThread::install_handler() {
#ifdef UNIRUN_ASK_BY_SIGNAL
  const Reference before = handler_of(request_signal);
  if (!before || PyLong_Check(before.get()) == 0 || PyLong_AsLong(before.get()) != 0) return false;
  static PyMethodDef definition{"let_others_in", on_signal, METH_VARARGS, nullptr};
  const Reference handler = Reference::steal(PyCFunction_New(&definition, nullptr));
  const Reference module = Reference::steal(PyImport_ImportModule("_signal"));
  if (!handler || !module ||
      !Reference::steal(
          PyObject_CallMethod(module.get(), "signal", "iO", request_signal, handler.get())))
    return false;
  struct sigaction action {};
  if (::sigaction(request_signal, nullptr, &action) != 0) return false;
  action.sa_flags |= SA_RESTART;  // No system call of the program's is to end by it.
  return ::sigaction(request_signal, &action, nullptr) == 0;
#else
  return true;
#endif
}

}  // namespace unirun::python
