#include "python_bindings/pools/future.h"

#include <array>

#include "framework/clock.h"
#include "python_bindings/exception.h"
#include "python_bindings/gil.h"
#include "python_bindings/pools/module_state.h"
#include "python_bindings/pools/timeout.h"

namespace unirun::bindings {
namespace {

constexpr std::uint32_t state_bits = 7;

thread_local bool outcome_taken = false;

Future* cast(PyObject* object) { return reinterpret_cast<Future*>(object); }
PyObject* object_of(Future* future) { return reinterpret_cast<PyObject*>(future); }

// ---- The lock of the standard library ----

// A change of state holds `_condition` where somebody has asked for it, as wait() and
// as_completed() do; where nobody has, it is one step under the GIL (or the future's own lock), and
// the condition cannot come into being meanwhile.
class Change {
 public:
  explicit Change(Future* future) : future_(future) {}
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;
  ~Change() { release(); }

  // Calls `step` with the lock; it must not call Python. False: an exception is set.
  template <class Step>
  bool run(Step step) {
    for (;;) {
      {
        const ObjectLock lock(object_of(future_));
        if (future_->condition == condition_.get()) {
          step();
          return true;
        }
        release();
        condition_ = Reference::borrow(future_->condition);
      }
      const Reference got =
          Reference::steal(PyObject_CallMethod(condition_.get(), "acquire", nullptr));
      if (!got) {
        condition_ = Reference();
        return false;
      }
    }
  }

  // To those who wait with the standard library's means: the words of its _Waiter classes.
  void tell(const char* word) {
    if (!condition_) return;
    if (word != nullptr && future_->waiters != nullptr) {
      const Reference waiters = Reference::steal(PySequence_Tuple(future_->waiters));
      for (Py_ssize_t at = 0; waiters && at < PyTuple_GET_SIZE(waiters.get()); ++at) {
        const Reference done = Reference::steal(PyObject_CallMethod(
            PyTuple_GET_ITEM(waiters.get(), at), word, "O", object_of(future_)));
        if (!done) PyErr_WriteUnraisable(object_of(future_));
      }
      if (!waiters) PyErr_WriteUnraisable(object_of(future_));
    }
    call("notify_all");
  }

 private:
  void release() {
    if (!condition_) return;
    call("release");
    condition_ = Reference();
  }
  void call(const char* method) {
    const Reference done = Reference::steal(PyObject_CallMethod(condition_.get(), method, nullptr));
    if (!done) PyErr_WriteUnraisable(condition_.get());
  }

  Future* future_;
  Reference condition_;  // Held, where it is not empty.
};

// Under the lock. Who sleeps on the word is left in `wakes`.
void enter_state(Future* future, FutureState state, Wakes& wakes) {
  const std::uint32_t before =
      future->word.exchange(static_cast<std::uint32_t>(state), std::memory_order_acq_rel);
  if ((before & waited_for) == 0) return;
  if (state >= FutureState::cancelled) {
    wakes.add(future->word);
  } else {
    future->word.fetch_or(waited_for, std::memory_order_acq_rel);
  }
}

// As enter_state(), for a future that a worker may claim meanwhile. False: it is not pending.
bool leave_pending(Future* future, FutureState state, Wakes& wakes) {
  std::uint32_t before = future->word.load(std::memory_order_acquire);
  do {
    if ((before & state_bits) != static_cast<std::uint32_t>(FutureState::pending)) return false;
  } while (!future->word.compare_exchange_weak(before, static_cast<std::uint32_t>(state),
                                               std::memory_order_acq_rel));
  if ((before & waited_for) != 0) wakes.add(future->word);
  return true;
}

// ---- Callbacks ----

// As the standard library: an Exception is logged, anything above it goes on. False: it is set.
bool call_back(Future* future, PyObject* callback) {
  const Reference done = Reference::steal(PyObject_CallOneArg(callback, object_of(future)));
  if (done) return true;
  if (PyErr_ExceptionMatches(PyExc_Exception) == 0) return false;
  const Reference raised = take_exception();
  const ModuleState* const state = state_of(Py_TYPE(object_of(future)));
  if (state == nullptr) return false;
  const Reference logged = Reference::steal(
      PyObject_CallFunctionObjArgs(state->log_callback, object_of(future), raised.get(), nullptr));
  return static_cast<bool>(logged);
}

// They are let go as they are called: a future that is kept keeps nobody else.
bool invoke_callbacks(Future* future) {
  Reference callbacks;
  {
    const ObjectLock lock(object_of(future));
    callbacks = Reference::steal(std::exchange(future->callbacks, nullptr));
  }
  if (!callbacks) return true;
  if (!PyList_CheckExact(callbacks.get())) return call_back(future, callbacks.get());
  for (Py_ssize_t at = 0; at < PyList_GET_SIZE(callbacks.get()); ++at) {
    const Reference callback = Reference::borrow(PyList_GET_ITEM(callbacks.get(), at));
    if (!call_back(future, callback.get())) return false;
  }
  return true;
}

// Under the lock. False: an exception is set.
bool add_callback(Future* future, PyObject* callback) {
  if (future->callbacks == nullptr && !PyList_CheckExact(callback)) {
    future->callbacks = Py_NewRef(callback);
    return true;
  }
  if (future->callbacks == nullptr || !PyList_CheckExact(future->callbacks)) {
    PyObject* const list = PyList_New(0);
    if (list == nullptr) return false;
    if (future->callbacks != nullptr && PyList_Append(list, future->callbacks) != 0) {
      Py_DECREF(list);
      return false;
    }
    Py_XDECREF(std::exchange(future->callbacks, list));
  }
  return PyList_Append(future->callbacks, callback) == 0;
}

// ---- Completion ----

struct Outcome {
  Reference result;
  Reference exception;
};

// 1: done; 0: it was done already; -1: an exception is set, the future is as it was or complete.
int complete(Future* future, Outcome outcome, Wakes& wakes) {
  bool changed = false;
  const bool failed = static_cast<bool>(outcome.exception);
  Reference completer;
  {
    Change change(future);
    const bool held = change.run([&] {
      changed = !is_done(future);
      if (!changed) return;
      future->result = outcome.result.release();
      future->exception = outcome.exception.release();
      completer =
          Reference::steal(reinterpret_cast<PyObject*>(std::exchange(future->completer, nullptr)));
      enter_state(future, FutureState::finished, wakes);
    });
    if (!held) return -1;
    if (!changed) return 0;
    change.tell(failed ? "add_exception" : "add_result");
  }
  return invoke_callbacks(future) ? 1 : -1;
}

int cancel(Future* future, Wakes& wakes) {
  bool changed = false;
  bool cancelled = false;
  Reference completer;
  {
    Change change(future);
    const bool held = change.run([&] {
      changed = leave_pending(future, FutureState::cancelled, wakes);
      const FutureState state = state_of(future);
      cancelled = state == FutureState::cancelled || state == FutureState::cancelled_and_notified;
      if (!changed) return;
      completer =
          Reference::steal(reinterpret_cast<PyObject*>(std::exchange(future->completer, nullptr)));
    });
    if (!held) return -1;
    if (changed) change.tell(nullptr);
  }
  if (auto* const who = reinterpret_cast<Completer*>(completer.get());
      who != nullptr && who->cancelled != nullptr)
    who->cancelled(who);
  if (changed && !invoke_callbacks(future)) return -1;
  return cancelled ? 1 : 0;
}

enum class Start { runs, cancelled, unexpected, error };

Start start(Future* future, Wakes& wakes) {
  Start outcome = Start::unexpected;
  Change change(future);
  const bool held = change.run([&] {
    if (state_of(future) == FutureState::pending) {
      enter_state(future, FutureState::running, wakes);
      outcome = Start::runs;
    } else if (state_of(future) == FutureState::cancelled) {
      enter_state(future, FutureState::cancelled_and_notified, wakes);
      outcome = Start::cancelled;
    }
  });
  if (!held) return Start::error;
  if (outcome == Start::cancelled) change.tell("add_cancelled");
  return outcome;
}

// ---- Waiting ----

// It lets go of its completer when it is done, which may be while we use it.
Reference completer_of(Future* future) {
  const ObjectLock lock(object_of(future));
  return Reference::borrow(reinterpret_cast<PyObject*>(future->completer));
}

// Until it may be done: awake where the completer is about to do it, then asleep on the state word.
void sleep_on_word(Future* future, Completer* completer, const Instant* deadline) {
  if (completer != nullptr) {
    PoolRendezvous& rendezvous = completer->rendezvous;
    rendezvous.let_go();
    if (rendezvous.look(Side::caller, [future] { return is_done(future); })) return;
  }
  while (!is_done(future)) {
    const std::uint32_t before = future->word.fetch_or(waited_for, std::memory_order_acq_rel);
    if ((before & state_bits) >= static_cast<std::uint32_t>(FutureState::cancelled)) return;
    if (futex_wait(future->word, before | waited_for, deadline) != 0) return;
  }
}

// 0, or -1 with an exception set.
int wait_on_word(Future* future, Completer* completer, const Instant* deadline) {
  Wakes wakes;
  if (completer != nullptr && completer->before_wait != nullptr)
    completer->before_wait(completer, wakes);
  without_gil([&] {
    wakes.ring();
    sleep_on_word(future, completer, deadline);
    return 0;
  });
  return is_done(future) ? 0 : PyErr_CheckSignals();
}

// 1: it is done; 0: not before the timeout; -1: an exception is set.
int wait_until_done(Future* future, PyObject* timeout) {
  if (is_done(future)) return 1;
  Instant deadline{};
  const Instant soon = SystemClock().now() + second_look;
  const bool limited = timeout != Py_None;
  if (limited && !deadline_after(timeout, deadline)) return -1;
  for (bool first = true; !is_done(future); first = false) {
    if (limited && SystemClock().now() >= deadline) return 0;
    const Reference kept = completer_of(future);
    auto* const completer = reinterpret_cast<Completer*>(kept.get());
    const Instant* until = limited ? &deadline : nullptr;
    if (first && (!limited || soon < deadline)) until = &soon;
    const int waited = completer != nullptr && completer->wait != nullptr
                           ? completer->wait(completer, future, until)
                           : wait_on_word(future, completer, until);
    if (waited != 0) return -1;
  }
  // Whoever sets `_state` by hand holds the condition until the result is there as well.
  Change settled(future);
  return settled.run([] {}) ? 1 : -1;
}

// result(timeout=None), exception(timeout=None): the timeout, borrowed. Null: an exception is set.
PyObject* timeout_of(const char* name, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  if (count + named > 1) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)", name, count + named);
    return nullptr;
  }
  if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0) {
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", name,
                 PyTuple_GET_ITEM(names, 0));
    return nullptr;
  }
  return count + named == 1 ? args[0] : Py_None;
}

// Waits and leaves the future done. False: an exception is set.
bool wait_for_outcome(Future* future, PyObject* timeout) {
  note_outcome_taken();
  const int done = wait_until_done(future, timeout);
  if (done == 0) PyErr_SetNone(PyExc_TimeoutError);
  if (done != 1) return false;
  if (state_of(future) == FutureState::finished) return true;
  const ModuleState* const state = state_of(Py_TYPE(object_of(future)));
  if (state != nullptr) PyErr_SetNone(state->cancelled_error);
  return false;
}

// ---- Methods ----

PyObject* future_result(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  PyObject* const timeout = timeout_of("result", args, count, names);
  if (timeout == nullptr || !wait_for_outcome(cast(self), timeout)) return nullptr;
  const ObjectLock lock(self);
  if (PyObject* const exception = cast(self)->exception; exception != nullptr) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
    return nullptr;
  }
  return Py_NewRef(cast(self)->result != nullptr ? cast(self)->result : Py_None);
}

PyObject* future_exception(PyObject* self, PyObject* const* args, Py_ssize_t count,
                           PyObject* names) {
  PyObject* const timeout = timeout_of("exception", args, count, names);
  if (timeout == nullptr || !wait_for_outcome(cast(self), timeout)) return nullptr;
  const ObjectLock lock(self);
  return Py_NewRef(cast(self)->exception != nullptr ? cast(self)->exception : Py_None);
}

PyObject* state_name(Future* future) {
  const ModuleState* const state = state_of(Py_TYPE(object_of(future)));
  return state == nullptr
             ? nullptr
             : Py_NewRef(state->state_names[static_cast<std::size_t>(state_of(future))]);
}

PyObject* refuse_completed(Future* future) {
  const ModuleState* const state = state_of(Py_TYPE(object_of(future)));
  const Reference name = Reference::steal(state_name(future));
  if (name) PyErr_Format(state->invalid_state_error, "%U: %R", name.get(), object_of(future));
  return nullptr;
}

PyObject* set_outcome(PyObject* self, Outcome outcome) {
  Wakes wakes;
  const int done = complete(cast(self), std::move(outcome), wakes);
  if (done < 0) return nullptr;
  if (done == 0) return refuse_completed(cast(self));
  Py_RETURN_NONE;
}

PyObject* future_set_result(PyObject* self, PyObject* result) {
  return set_outcome(self, {Reference::borrow(result), {}});
}

PyObject* future_set_exception(PyObject* self, PyObject* exception) {
  // None is what the standard library takes for "no exception": the result is then None.
  if (exception == Py_None) return set_outcome(self, {Reference::borrow(Py_None), {}});
  return set_outcome(self, {{}, Reference::borrow(exception)});
}

PyObject* future_cancel(PyObject* self, PyObject* /*unused*/) {
  Wakes wakes;
  const int cancelled = cancel(cast(self), wakes);
  return cancelled < 0 ? nullptr : PyBool_FromLong(cancelled);
}

PyObject* future_start(PyObject* self, PyObject* /*unused*/) {
  Wakes wakes;
  switch (start(cast(self), wakes)) {
    case Start::runs: Py_RETURN_TRUE;
    case Start::cancelled: Py_RETURN_FALSE;
    case Start::error: return nullptr;
    case Start::unexpected: break;
  }
  const ModuleState* const state = state_of(Py_TYPE(self));
  const Reference name = Reference::steal(state_name(cast(self)));
  if (!name) return nullptr;
  const Reference logged = Reference::steal(
      PyObject_CallFunctionObjArgs(state->log_unexpected, self, name.get(), nullptr));
  if (logged) PyErr_SetString(PyExc_RuntimeError, "Future in unexpected state");
  return nullptr;
}

PyObject* future_add_done_callback(PyObject* self, PyObject* callback) {
  bool done = false;
  bool added = true;
  {
    Change change(cast(self));
    const bool held = change.run([&] {
      done = is_done(cast(self));
      if (!done) added = add_callback(cast(self), callback);
    });
    if (!held || !added) return nullptr;
  }
  if (done && !call_back(cast(self), callback)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* future_invoke_callbacks(PyObject* self, PyObject* /*unused*/) {
  if (!invoke_callbacks(cast(self))) return nullptr;
  Py_RETURN_NONE;
}

PyObject* future_done(PyObject* self, PyObject* /*unused*/) {
  return PyBool_FromLong(is_done(cast(self)) ? 1 : 0);
}

PyObject* future_running(PyObject* self, PyObject* /*unused*/) {
  return PyBool_FromLong(state_of(cast(self)) == FutureState::running ? 1 : 0);
}

PyObject* future_cancelled(PyObject* self, PyObject* /*unused*/) {
  const FutureState state = state_of(cast(self));
  return PyBool_FromLong(
      state == FutureState::cancelled || state == FutureState::cancelled_and_notified ? 1 : 0);
}

// (done, cancelled, result, exception): how asyncio reads it from 3.15 on.
PyObject* future_snapshot(PyObject* self, PyObject* /*unused*/) {
  Change change(cast(self));
  PyObject* snapshot = nullptr;
  const bool held = change.run([&] {
    const auto* const future = cast(self);
    const FutureState state = state_of(future);
    const bool cancelled =
        state == FutureState::cancelled || state == FutureState::cancelled_and_notified;
    snapshot = Py_BuildValue("(NNOO)", PyBool_FromLong(is_done(future) ? 1 : 0),
                             PyBool_FromLong(cancelled ? 1 : 0),
                             future->result != nullptr ? future->result : Py_None,
                             future->exception != nullptr ? future->exception : Py_None);
  });
  return held ? snapshot : nullptr;
}

PyObject* future_reduce(PyObject* self, PyObject* /*protocol*/) {
  PyErr_Format(PyExc_TypeError, "cannot pickle '%s' object: it lives in the process that made it",
               Py_TYPE(self)->tp_name);
  return nullptr;
}

// ---- What the standard library keeps as attributes ----

PyObject* get_state(PyObject* self, void* /*unused*/) { return state_name(cast(self)); }

int set_state(PyObject* self, PyObject* value, void* /*unused*/) {
  const ModuleState* const state = state_of(Py_TYPE(self));
  if (state == nullptr) return -1;
  for (std::size_t at = 0; value != nullptr && at < state->state_names.size(); ++at) {
    const int same = PyObject_RichCompareBool(value, state->state_names[at], Py_EQ);
    if (same < 0) return -1;
    if (same == 0) continue;
    Wakes wakes;
    enter_state(cast(self), static_cast<FutureState>(at), wakes);
    return 0;
  }
  PyErr_Format(
      PyExc_ValueError,
      "_state: %R is not one of PENDING, RUNNING, CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED",
      value == nullptr ? Py_None : value);
  return -1;
}

template <PyObject* Future::*member>
PyObject* get_member(PyObject* self, void* /*unused*/) {
  const ObjectLock lock(self);
  PyObject* const value = cast(self)->*member;
  return Py_NewRef(value != nullptr ? value : Py_None);
}

// None is what the standard library has where there is nothing.
template <PyObject* Future::*member>
int set_member(PyObject* self, PyObject* value, void* /*unused*/) {
  Reference before;
  const ObjectLock lock(self);
  before = Reference::steal(std::exchange(
      cast(self)->*member, value == nullptr || value == Py_None ? nullptr : Py_NewRef(value)));
  return 0;
}

// What is made by `make` when it is first read.
template <PyObject* Future::*member, class Make>
PyObject* get_or_make(PyObject* self, Make make) {
  {
    const ObjectLock lock(self);
    if (cast(self)->*member != nullptr) return Py_NewRef(cast(self)->*member);
  }
  Reference made = Reference::steal(make());
  if (!made) return nullptr;
  const ObjectLock lock(self);
  if (cast(self)->*member == nullptr) cast(self)->*member = made.release();
  return Py_NewRef(cast(self)->*member);
}

// Whoever reads it before the future is done is about to wait: what was put off is done now.
PyObject* get_condition(PyObject* self, void* /*unused*/) {
  const ModuleState* const state = state_of(Py_TYPE(self));
  if (state == nullptr) return nullptr;
  Wakes wakes;
  const Reference kept = completer_of(cast(self));
  auto* const completer = reinterpret_cast<Completer*>(kept.get());
  if (completer != nullptr && completer->before_wait != nullptr)
    completer->before_wait(completer, wakes);
  return get_or_make<&Future::condition>(
      self, [&] { return PyObject_CallNoArgs(state->condition_class); });
}

PyObject* get_waiters(PyObject* self, void* /*unused*/) {
  return get_or_make<&Future::waiters>(self, [] { return PyList_New(0); });
}

PyObject* get_callbacks(PyObject* self, void* /*unused*/) {
  const ObjectLock lock(self);
  Future* const future = cast(self);
  if (future->callbacks == nullptr || !PyList_CheckExact(future->callbacks)) {
    PyObject* const list = PyList_New(0);
    if (list == nullptr) return nullptr;
    if (future->callbacks != nullptr && PyList_Append(list, future->callbacks) != 0) {
      Py_DECREF(list);
      return nullptr;
    }
    Py_XDECREF(std::exchange(future->callbacks, list));
  }
  return Py_NewRef(future->callbacks);
}

// ---- The type ----

int future_init(PyObject* /*self*/, PyObject* args, PyObject* kwargs) {
  if (PyTuple_GET_SIZE(args) == 0 && (kwargs == nullptr || PyDict_GET_SIZE(kwargs) == 0)) return 0;
  PyErr_SetString(PyExc_TypeError, "Future() takes no arguments");
  return -1;
}

PyObject* future_new(PyTypeObject* type, PyObject* /*args*/, PyObject* /*kwargs*/) {
  return object_of(make_future(type, nullptr));
}

int future_traverse(PyObject* self, visitproc visit, void* arg) {
  auto* const future = cast(self);
  Py_VISIT(future->result);
  Py_VISIT(future->exception);
  Py_VISIT(future->callbacks);
  Py_VISIT(future->condition);
  Py_VISIT(future->waiters);
  Py_VISIT(reinterpret_cast<PyObject*>(future->completer));
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int future_clear(PyObject* self) {
  auto* const future = cast(self);
  Py_CLEAR(future->result);
  Py_CLEAR(future->exception);
  Py_CLEAR(future->callbacks);
  Py_CLEAR(future->condition);
  Py_CLEAR(future->waiters);
  Py_CLEAR(future->completer);
  return 0;
}

void future_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  future_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef* methods() {
  static std::array<PyMethodDef, 14> table{{
      {"result", method(future_result), METH_FASTCALL | METH_KEYWORDS, nullptr},
      {"exception", method(future_exception), METH_FASTCALL | METH_KEYWORDS, nullptr},
      {"set_result", future_set_result, METH_O, nullptr},
      {"set_exception", future_set_exception, METH_O, nullptr},
      {"set_running_or_notify_cancel", future_start, METH_NOARGS, nullptr},
      {"cancel", future_cancel, METH_NOARGS, nullptr},
      {"cancelled", future_cancelled, METH_NOARGS, nullptr},
      {"running", future_running, METH_NOARGS, nullptr},
      {"done", future_done, METH_NOARGS, nullptr},
      {"add_done_callback", future_add_done_callback, METH_O, nullptr},
      {"_invoke_callbacks", future_invoke_callbacks, METH_NOARGS, nullptr},
      {"_get_snapshot", future_snapshot, METH_NOARGS, nullptr},
      {"__reduce_ex__", future_reduce, METH_O, nullptr},
  }};
  return table.data();
}

PyGetSetDef* attributes() {
  static std::array<PyGetSetDef, 7> table{{
      {"_state", get_state, set_state, nullptr, nullptr},
      {"_result", get_member<&Future::result>, set_member<&Future::result>, nullptr, nullptr},
      {"_exception", get_member<&Future::exception>, set_member<&Future::exception>, nullptr,
       nullptr},
      {"_condition", get_condition, set_member<&Future::condition>, nullptr, nullptr},
      {"_waiters", get_waiters, set_member<&Future::waiters>, nullptr, nullptr},
      {"_done_callbacks", get_callbacks, set_member<&Future::callbacks>, nullptr, nullptr},
  }};
  return table.data();
}

}  // namespace

bool init_futures(PyObject* module) {
  std::array<PyType_Slot, 9> slots{{{Py_tp_new, slot(future_new)},
                                    {Py_tp_init, slot(future_init)},
                                    {Py_tp_dealloc, slot(future_dealloc)},
                                    {Py_tp_traverse, slot(future_traverse)},
                                    {Py_tp_clear, slot(future_clear)},
                                    {Py_tp_methods, methods()},
                                    {Py_tp_getset, attributes()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.NativeFuture", sizeof(Future), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots.data()};
  const Reference type = Reference::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

Future* make_future(PyTypeObject* type, Completer* completer) {
  auto* const future = cast(type->tp_alloc(type, 0));  // All else is zero: a pending future.
  if (future != nullptr)
    future->completer =
        reinterpret_cast<Completer*>(Py_XNewRef(reinterpret_cast<PyObject*>(completer)));
  return future;
}

bool start_future(Future* future, Wakes& wakes) {
  const Start outcome = start(future, wakes);
  return outcome == Start::runs;
}

void finish_future(Future* future, PyObject* result, Wakes& wakes) {
  if (complete(future, {Reference::steal(result), {}}, wakes) < 0)
    PyErr_WriteUnraisable(object_of(future));
}

void fail_future(Future* future, PyObject* exception, Wakes& wakes) {
  if (complete(future, {{}, Reference::steal(exception)}, wakes) < 0)
    PyErr_WriteUnraisable(object_of(future));
}

bool cancel_future(Future* future, Wakes& wakes) {
  const int cancelled = cancel(future, wakes);
  if (cancelled < 0) PyErr_WriteUnraisable(object_of(future));
  return cancelled == 1;
}

bool takes_outcomes() { return std::exchange(outcome_taken, false); }

void note_outcome_taken() { outcome_taken = true; }

}  // namespace unirun::bindings
