#include "python_bindings/pools/interpreter_engine.h"

#include <marshal.h>

#include <array>
#include <new>

#include "framework/clock.h"
#include "python_bindings/exception.h"
#include "python_bindings/gil.h"
#include "python_bindings/pools/interpreter_worker.h"

namespace unirun::bindings {
namespace {

using Lock = std::lock_guard<std::mutex>;

// Where more are queued, a worker goes on to the next task and leaves delivering to the guard.
constexpr std::size_t few = 16;
constexpr auto guard_looks_every = std::chrono::microseconds(200);
// A program that makes functions all the time would fill the table.
constexpr std::size_t most_functions = 4096;

InterpreterEngine* cast(PyObject* object) { return reinterpret_cast<InterpreterEngine*>(object); }
PyObject* object_of(void* object) { return static_cast<PyObject*>(object); }

// ---- Who leaves; with the lock ----

bool is_over(const InterpreterEngine* engine) {
  return (engine->closed || engine->exiting) && engine->queue.size() == 0;
}

void count_off(InterpreterEngine* engine) {
  --engine->threads;
  if (engine->threads > 0 || !(engine->closed || engine->exiting)) return;
  engine->guard.store(guard_leaves, std::memory_order_seq_cst);
  futex_wake_all(engine->guard);
}

// ---- Delivering; with the home GIL ----

// What a hook makes of the arguments: an exception, whatever happens.
PyObject* error_by(InterpreterEngine* engine, const char* hook, PyObject* arguments) {
  const Reference method = Reference::steal(PyObject_GetAttrString(engine->hooks, hook));
  PyObject* error =
      method && arguments != nullptr ? PyObject_CallObject(method.get(), arguments) : nullptr;
  return error != nullptr ? error : take_exception().release();
}

PyObject* unmarshalled(const InterpreterTask* task) {
  return PyMarshal_ReadObjectFromString(task->outcome, static_cast<Py_ssize_t>(task->outcome_size));
}

PyObject* unpickled(const InterpreterEngine* engine, const InterpreterTask* task) {
  const Reference bytes = Reference::steal(PyMemoryView_FromMemory(
      task->outcome, static_cast<Py_ssize_t>(task->outcome_size), PyBUF_READ));
  return bytes ? PyObject_CallOneArg(engine->loads, bytes.get()) : nullptr;
}

InterpreterTask* pop_done(InterpreterEngine* engine) {
  const Lock lock(engine->lock);
  return engine->done.pop();
}

// Whoever completes this future may be held up by somebody's callback.
bool may_call_python(const Future* future) {
  return future->callbacks != nullptr || future->condition != nullptr;
}

void deliver_all(InterpreterEngine* engine, Sleeper* sleeper, Wakes& wakes) {
  Wakes others;  // Who work while a callback holds us up.
  while (InterpreterTask* const task = pop_done(engine)) {
    if (sleeper != nullptr && may_call_python(task->future)) {
      const Lock lock(engine->lock);
      engine->sleepers.excuse(*sleeper, others);
    }
    others.ring();
    complete(engine, task, wakes);
    InterpreterTask::destroy(task);
  }
}

// ---- Methods ----

// guard(): delivers what workers have left, while there is something.
PyObject* engine_guard(PyObject* self, PyObject* /*unused*/) {
  InterpreterEngine* const engine = cast(self);
  PyThreadState* const home = PyEval_SaveThread();
  for (;;) {
    const std::uint32_t word = engine->guard.load(std::memory_order_seq_cst);
    if (word == guard_leaves) break;
    if (word == guard_sleeps) {
      futex_wait(engine->guard, guard_sleeps, nullptr);
      continue;
    }
    const Instant end = SystemClock().now() + guard_looks_every;
    futex_wait(engine->guard, guard_watches, &end);
    if (engine->done.has_some()) {
      deliver(engine, home, nullptr);
      continue;
    }
    std::uint32_t expected = guard_watches;
    engine->guard.compare_exchange_strong(expected, guard_sleeps, std::memory_order_seq_cst);
    if (engine->done.has_some()) rouse_guard(engine);
  }
  or_hang([home] { PyEval_RestoreThread(home); });
  Py_RETURN_NONE;
}

// unguarded(): no guard can be started; the workers deliver by themselves.
PyObject* engine_unguarded(PyObject* self, PyObject* /*unused*/) {
  const Lock lock(cast(self)->lock);
  cast(self)->guarded = false;
  Py_RETURN_NONE;
}

// enter(context): a worker with an interpreter of its own, for this thread.
PyObject* engine_enter(PyObject* self, PyObject* /*unused*/) {
  return make_interpreter_worker(cast(self));
}

// leave(): a thread that was wanted, or started, will not run().
PyObject* engine_leave(PyObject* self, PyObject* /*unused*/) {
  leave(cast(self));
  Py_RETURN_NONE;
}

PyObject* engine_close(PyObject* self, PyObject* /*unused*/) {
  Wakes wakes;
  close_engine(cast(self), wakes);
  Py_RETURN_NONE;
}

// put(None): the word of the standard library's queues, by which its exit hook ends the workers.
PyObject* engine_put(PyObject* self, PyObject* /*unused*/) {
  Wakes wakes;
  const Lock lock(cast(self)->lock);
  cast(self)->exiting = true;
  cast(self)->sleepers.call_all(wakes);
  Py_RETURN_NONE;
}

// take(): the futures of all queued tasks, which will not run any more.
PyObject* engine_take(PyObject* self, PyObject* /*unused*/) {
  InterpreterEngine* const engine = cast(self);
  Reference futures = Reference::steal(PyList_New(0));
  for (;;) {
    InterpreterTask* task = nullptr;
    {
      const Lock lock(engine->lock);
      task = engine->queue.pop();
      if (task != nullptr) engine->statistics.count(&Statistics::cancelled);
    }
    if (task == nullptr) return futures.release();
    const int added = futures ? PyList_Append(futures.get(), object_of(task->future)) : -1;
    InterpreterTask::destroy(task);
    if (added != 0) futures = Reference();
  }
}

PyObject* engine_qsize(PyObject* self, PyObject* /*unused*/) {
  return PyLong_FromSize_t(cast(self)->queue.size());
}

PyObject* engine_empty(PyObject* self, PyObject* /*unused*/) {
  return PyBool_FromLong(cast(self)->queue.size() == 0 ? 1 : 0);
}

PyObject* engine_statistics(PyObject* self, PyObject* /*unused*/) {
  InterpreterEngine* const engine = cast(self);
  Statistics statistics;
  std::size_t queued = 0;
  std::size_t running = 0;
  std::size_t workers = 0;
  {
    const Lock lock(engine->lock);
    statistics = engine->statistics;
    queued = engine->queue.size();
    running = engine->running;
    workers = engine->threads;
  }
  return statistics.as_dict(queued, running, workers);
}

// watch(bell): have the eventfd told of the next change of the statistics; -1: none.
PyObject* engine_watch(PyObject* self, PyObject* bell) {
  const auto descriptor = static_cast<int>(PyLong_AsLong(bell));
  if (PyErr_Occurred() != nullptr) return nullptr;
  InterpreterEngine* const engine = cast(self);
  const Lock lock(engine->lock);
  engine->statistics.bell = descriptor;
  Py_RETURN_NONE;
}

// ---- The type ----

// Not what is queued: workers take it without the GIL, so a task keeps what it holds until it is
// done.
int engine_traverse(PyObject* self, visitproc visit, void* arg) {
  const InterpreterEngine* const engine = cast(self);
  for (PyObject* const function : engine->functions) Py_VISIT(function);
  Py_VISIT(object_of(engine->future_class));
  Py_VISIT(engine->hooks);
  Py_VISIT(engine->dumps);
  Py_VISIT(engine->loads);
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int engine_clear(PyObject* self) {
  InterpreterEngine* const engine = cast(self);
  engine->places.clear();
  const std::vector<PyObject*> functions = std::exchange(engine->functions, {});
  for (PyObject* const function : functions) Py_DECREF(function);
  Py_CLEAR(engine->hooks);
  return 0;
}

void engine_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  InterpreterEngine* const engine = cast(self);
  engine_clear(self);
  Py_XDECREF(object_of(engine->future_class));
  Py_XDECREF(engine->dumps);
  Py_XDECREF(engine->loads);
  std::destroy_at(&engine->places);
  std::destroy_at(&engine->functions);
  std::destroy_at(&engine->lock);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef* methods() {
  static std::array<PyMethodDef, 12> table{{
      {"guard", engine_guard, METH_NOARGS, nullptr},
      {"unguarded", engine_unguarded, METH_NOARGS, nullptr},
      {"enter", engine_enter, METH_NOARGS, nullptr},
      {"leave", engine_leave, METH_NOARGS, nullptr},
      {"close", engine_close, METH_NOARGS, nullptr},
      {"put", engine_put, METH_O, nullptr},
      {"take", engine_take, METH_NOARGS, nullptr},
      {"qsize", engine_qsize, METH_NOARGS, nullptr},
      {"empty", engine_empty, METH_NOARGS, nullptr},
      {"statistics", engine_statistics, METH_NOARGS, nullptr},
      {"watch", engine_watch, METH_O, nullptr},
  }};
  return table.data();
}

// Of the C module itself: pickle, in Python, imports much more.
bool find_pickle(InterpreterEngine* engine) {
  const Reference pickle = Reference::steal(PyImport_ImportModule("_pickle"));
  if (!pickle) return false;
  engine->dumps = PyObject_GetAttrString(pickle.get(), "dumps");
  engine->loads = PyObject_GetAttrString(pickle.get(), "loads");
  return engine->dumps != nullptr && engine->loads != nullptr;
}

}  // namespace

bool init_interpreter_engine(PyObject* module) {
  std::array<PyType_Slot, 5> slots{{{Py_tp_dealloc, slot(engine_dealloc)},
                                    {Py_tp_traverse, slot(engine_traverse)},
                                    {Py_tp_clear, slot(engine_clear)},
                                    {Py_tp_methods, methods()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.InterpreterEngine", sizeof(InterpreterEngine), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                   slots.data()};
  PyObject* const type = PyType_FromModuleAndSpec(module, &spec, nullptr);
  state_of(module)->interpreter_engine = reinterpret_cast<PyTypeObject*>(type);
  return type != nullptr;
}

InterpreterEngine* make_interpreter_engine(const ModuleState& state, std::size_t limit,
                                           PyObject* hooks) {
  PyObject* const object = state.interpreter_engine->tp_alloc(state.interpreter_engine, 0);
  if (object == nullptr) return nullptr;
  InterpreterEngine* const engine = cast(object);
  new (&engine->functions) std::vector<PyObject*>;
  new (&engine->places) std::unordered_map<PyObject*, std::size_t>;
  new (&engine->lock) std::mutex;
  new (&engine->queue) InterpreterTasks;
  new (&engine->done) InterpreterTasks;
  new (&engine->sleepers) Sleepers;
  new (&engine->statistics) Statistics;
  new (&engine->on_the_way) std::atomic<bool>(false);
  new (&engine->guard) std::atomic<std::uint32_t>(guard_sleeps);
  engine->guarded = true;
  engine->limit = limit;
  engine->hooks = Py_NewRef(hooks);
  engine->future_class = reinterpret_cast<PyTypeObject*>(Py_NewRef(state.future_class));
  if (find_pickle(engine)) return engine;
  Py_DECREF(object);
  return nullptr;
}

std::size_t place_of(InterpreterEngine* engine, PyObject* callable) {
  const auto found = engine->places.find(callable);
  if (found != engine->places.end()) return found->second;
  if (engine->functions.size() == most_functions || !is_known_by_name(callable))
    return not_in_table;
  const std::size_t place = engine->functions.size();
  engine->functions.push_back(Py_NewRef(callable));
  engine->places.emplace(callable, place);
  return place;
}

void complete(InterpreterEngine* engine, InterpreterTask* task, Wakes& wakes) {
  Future* const future = task->future;
  PyObject* result = nullptr;
  switch (task->ending) {
    case Ending::none:
    case Ending::cancelled:
      if (!start_future(future, wakes) && PyErr_Occurred() != nullptr)
        PyErr_WriteUnraisable(object_of(future));
      return;
    case Ending::error: {
      const Reference told = Reference::steal(unmarshalled(task));
      return fail_future(future, error_by(engine, "failure", told.get()), wakes);
    }
    case Ending::unsendable: {
      const Reference told = Reference::steal(unmarshalled(task));
      return fail_future(future, error_by(engine, "unsendable", told.get()), wakes);
    }
    case Ending::home:
      if (task->raised != nullptr)
        return fail_future(future, std::exchange(task->raised, nullptr), wakes);
      return finish_future(future, std::exchange(task->returned, nullptr), wakes);
    case Ending::discarded: return finish_future(future, Py_NewRef(Py_None), wakes);
    case Ending::result:
      result = task->carriage == Carriage::plain ? unmarshalled(task) : unpickled(engine, task);
  }
  if (result != nullptr) return finish_future(future, result, wakes);
  const Reference raised = take_exception();
  const Reference told = Reference::steal(PyTuple_Pack(1, raised.get()));
  fail_future(future, error_by(engine, "unreadable", told.get()), wakes);
}

bool push_task(InterpreterEngine* engine, InterpreterTask* task, Wakes& wakes) {
  const Lock lock(engine->lock);
  Statistics& statistics = engine->statistics;
  if (statistics.times_next(engine->queue.size())) task->queued_at = SystemClock().now();
  statistics.count(&Statistics::submitted);
  engine->queue.push(task);
  Sleepers& sleepers = engine->sleepers;
  if (engine->queue.size() > sleepers.idle() + sleepers.searching() &&
      engine->threads < engine->limit) {
    ++engine->threads;
    sleepers.begin_search();
    return true;
  }
  sleepers.call_if_needed(wakes);
  return false;
}

bool take_back(InterpreterEngine* engine, const InterpreterTask* task) {
  const Lock lock(engine->lock);
  return engine->threads == 0 && engine->queue.remove(task);
}

InterpreterTask* take_task(InterpreterEngine* engine, Sleeper& sleeper, bool& searches,
                           Wakes& wakes) {
  const Lock lock(engine->lock);
  if (searches) engine->sleepers.end_search();
  searches = false;
  InterpreterTask* const task = engine->queue.pop();
  if (task == nullptr) {
    if (!is_over(engine)) engine->sleepers.park(sleeper);
    return nullptr;
  }
  ++engine->running;
  engine->statistics.tell_change();
  if (engine->queue.size() > 0) engine->sleepers.call_if_needed(wakes);
  return task;
}

void put_done(InterpreterEngine* engine, InterpreterTask* task, Duration waited, Duration ran) {
  const Lock lock(engine->lock);
  Statistics& statistics = engine->statistics;
  --engine->running;
  if (task->ending == Ending::cancelled) {
    statistics.count(&Statistics::cancelled);
  } else {
    const bool good = task->ending == Ending::result || task->ending == Ending::discarded ||
                      (task->ending == Ending::home && task->raised == nullptr);
    statistics.count(good ? &Statistics::completed : &Statistics::failed);
    if (task->is_timed()) {
      statistics.waited.add(waited);
      statistics.ran.add(ran);
    }
  }
  engine->done.push(task);
}

bool is_to_deliver(InterpreterEngine* engine) {
  const Lock lock(engine->lock);
  return engine->queue.size() < few || !engine->guarded;
}

void deliver(InterpreterEngine* engine, PyThreadState* home, Sleeper* sleeper) {
  if (!engine->done.has_some()) return;
  if (engine->on_the_way.exchange(true, std::memory_order_seq_cst)) return;
  or_hang([home] { PyEval_RestoreThread(home); });
  engine->on_the_way.store(false, std::memory_order_seq_cst);
  engine->completer.rendezvous.hold();
  Wakes wakes;
  deliver_all(engine, sleeper, wakes);
  PyEval_SaveThread();
  engine->completer.rendezvous.let_go();
  wakes.ring();
}

void rouse_guard(InterpreterEngine* engine) {
  std::uint32_t expected = guard_sleeps;
  if (engine->guard.load(std::memory_order_seq_cst) == guard_sleeps &&
      engine->guard.compare_exchange_strong(expected, guard_watches, std::memory_order_seq_cst))
    futex_wake_all(engine->guard);
}

bool is_to_leave(InterpreterEngine* engine, bool& searches) {
  const Lock lock(engine->lock);
  if (!is_over(engine)) return false;
  if (searches) engine->sleepers.end_search();
  searches = false;
  count_off(engine);
  return true;
}

void leave(InterpreterEngine* engine) {
  const Lock lock(engine->lock);
  engine->sleepers.end_search();
  count_off(engine);
}

void close_engine(InterpreterEngine* engine, Wakes& wakes) {
  const Lock lock(engine->lock);
  engine->closed = true;
  engine->sleepers.call_all(wakes);
  ++engine->threads;
  count_off(engine);  // Where there is no thread, the guard goes at once.
}

}  // namespace unirun::bindings
