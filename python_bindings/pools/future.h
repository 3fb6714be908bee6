// Future: what `submit` gives, a concurrent.futures.Future whose state is native.
//
// The Python class is made of this type and the standard one, class Future(_pools.NativeFuture,
// concurrent.futures.Future), so that it is one for isinstance, asyncio and every library.
// `_condition`, `_waiters` and `_done_callbacks` exist from the moment that somebody reads them
// (wait(), as_completed(), tests); until then a change of state is one exchange, and who waits in
// result() waits on the state word itself.
//
// Thread: with the GIL; on free-threaded builds any thread, each future has its own lock.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <atomic>
#include <cstdint>

#include "framework/time.h"
#include "python_bindings/pools/pool_rendezvous.h"
#include "python_bindings/pools/wakes.h"

namespace unirun::bindings {

struct Future;

enum class FutureState : std::uint32_t {
  pending,
  running,
  cancelled,
  cancelled_and_notified,
  finished
};

// Who completes futures: an engine. It is told when somebody is about to wait for one, so that
// what it has put off is done, and may do the waiting itself. An engine's Python type derives its
// instances from this struct.
struct Completer {
  PyObject_HEAD
      // What is to be done before the GIL is released, and after, for `future` to be completed.
      // May be null: nothing.
      void (*before_wait)(Completer*, Wakes&);
  // Waits without the GIL until `future` may be done, a signal came, or `deadline` (null: none) has
  // passed. Called with the GIL, returns with it; 0, or -1 with an exception set. May be null: the
  // future's own state word is waited on.
  int (*wait)(Completer*, Future*, const Instant* deadline);
  // One of its futures was cancelled before it began. May be null.
  void (*cancelled)(Completer*);
  // Where who waits for a future meets the workers. Zero is a new one.
  PoolRendezvous rendezvous;
};

struct Future {
  PyObject_HEAD std::atomic<std::uint32_t>
      word;  // FutureState, and `waited_for` where a thread sleeps on it.
  PyObject* result;
  PyObject* exception;
  PyObject* callbacks;   // Null, one callable, or a list once `_done_callbacks` was read or there
                         // are more.
  PyObject* condition;   // Null until `_condition` is read.
  PyObject* waiters;     // Null until `_waiters` is read.
  Completer* completer;  // Null, or who completes it; dropped once it is done.
};

constexpr std::uint32_t waited_for = 8;

[[nodiscard]] inline FutureState state_of(const Future* future) {
  return static_cast<FutureState>(future->word.load(std::memory_order_acquire) & 7);
}
[[nodiscard]] inline bool is_done(const Future* future) {
  return state_of(future) >= FutureState::cancelled;
}

// Makes the type NativeFuture and adds it to the module. False: an exception is set.
[[nodiscard]] bool init_futures(PyObject* module);

// A pending future of the Python class `type`; `completer` may be null. Null: an exception is set.
[[nodiscard]] Future* make_future(PyTypeObject* type, Completer* completer);

// pending to running; cancelled to cancelled_and_notified, telling who waits. False: it was
// cancelled and is not to be run, or (with an exception set) was in neither state.
[[nodiscard]] bool start_future(Future* future, Wakes& wakes);

// pending to running, without the GIL and telling nobody: nobody waits for that. False: it was not
// pending; start_future(), with the GIL, then does what is left to do.
[[nodiscard]] inline bool claim_future(Future* future) {
  std::uint32_t word = future->word.load(std::memory_order_acquire);
  while ((word & 7) == static_cast<std::uint32_t>(FutureState::pending)) {
    const std::uint32_t claimed = (word & ~7U) | static_cast<std::uint32_t>(FutureState::running);
    if (future->word.compare_exchange_weak(word, claimed, std::memory_order_acq_rel)) return true;
  }
  return false;
}

// Completes a pending or running one with a result or an exception (the reference is taken over),
// tells who waits and calls its callbacks. Does nothing to one that was cancelled meanwhile.
// Whom it wakes is left in `wakes`, to be rung without the GIL.
void finish_future(Future* future, PyObject* result, Wakes& wakes);
void fail_future(Future* future, PyObject* exception, Wakes& wakes);

// pending to cancelled, with its callbacks, as Future.cancel(). False: too late.
bool cancel_future(Future* future, Wakes& wakes);

// Whether this thread has taken an outcome, or asked for one, since it was asked this last. Who did
// after its last submission will do so again: it is about to wait, and whoever works for it may
// begin, and even end, before it goes on. Who did not has more to submit.
[[nodiscard]] bool takes_outcomes();
void note_outcome_taken();

}  // namespace unirun::bindings
