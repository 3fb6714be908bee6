#include "python_bindings/pools/thread_engine.h"

#include <array>
#include <new>

#include "framework/clock.h"
#include "python_bindings/exception.h"
#include "python_bindings/gil.h"

namespace unirun::bindings {
namespace {

// So many tasks are run before others are let at the GIL, if none of them lets go of it.
constexpr unsigned tasks_per_hold = 256;

ThreadEngine* cast(PyObject* object) { return reinterpret_cast<ThreadEngine*>(object); }
PyObject* object_of(ThreadEngine* engine) { return reinterpret_cast<PyObject*>(engine); }

// ---- The worker ----

// Counts a task that is over; `began`: the epoch where it was not timed.
void count_task(ThreadEngine* engine, std::uint64_t Statistics::*outcome, const Task* task,
                Instant began) {
  const ObjectLock lock(object_of(engine));
  --engine->running;
  engine->statistics.count(outcome);
  if (began == Instant{}) return;
  engine->statistics.waited.add(began - task->queued_at);
  engine->statistics.ran.add(SystemClock().now() - began);
}

// A future has told when it was cancelled; others are found to be.
void count_cancelled(ThreadEngine* engine, const Task* task) {
  const ObjectLock lock(object_of(engine));
  --engine->running;
  if (task->promise.future() != nullptr) {
    --engine->stale;
  } else {
    engine->statistics.count(&Statistics::cancelled);
  }
}

// As contextvars.Context.run() does.
PyObject* call_in_context(Task* task) {
  PyObject* const context = task->promise.context();
  if (PyContext_Enter(context) != 0) return nullptr;
  PyObject* const result = task->call();
  if (PyContext_Exit(context) != 0) Py_FatalError("a context that was entered cannot be left");
  return result;
}

void run_task(ThreadEngine* engine, Task* task, Wakes& wakes) {
  const Instant began = task->is_timed() ? SystemClock().now() : Instant{};
  if (!task->promise.begin(wakes)) {
    if (PyErr_Occurred() != nullptr) PyErr_WriteUnraisable(task->callable);
    return count_cancelled(engine, task);
  }
  PyObject* const result = task->promise.is_errand() ? call_in_context(task) : task->call();
  PyObject* const exception = result == nullptr ? take_exception().release() : nullptr;
  count_task(engine, result != nullptr ? &Statistics::completed : &Statistics::failed, task, began);
  task->promise.keep(result, exception, wakes);
}

// The next task, counted as running. Null: there is none.
Task* take_task(ThreadEngine* engine, bool& searches, Wakes& wakes) {
  const ObjectLock lock(object_of(engine));
  Task* const task = engine->queue.pop();
  if (searches) engine->sleepers.end_search();
  searches = false;
  if (task == nullptr) return nullptr;
  ++engine->running;
  engine->statistics.tell_change();
  // The task may block, and nobody else may come before it ends.
  if (!engine->queue.is_empty()) engine->sleepers.call_if_needed(wakes);
  return task;
}

// Runs what is queued. Whom it has woken by the last task is left in `wakes`.
void drain(ThreadEngine* engine, bool& searches, Wakes& wakes) {
  for (unsigned held = 1;; ++held) {
    Task* const task = take_task(engine, searches, wakes);
    if (task == nullptr) return;
    // Nobody knows how long the next one takes.
    wakes.ring();
    run_task(engine, task, wakes);
    Task::destroy(task);
    if (held % tasks_per_hold == 0) without_gil([] { return 0; });
  }
}

// Parks the worker, if it is to stay. True: it is to sleep now.
bool lie_down(ThreadEngine* engine, Sleeper& sleeper) {
  const ObjectLock lock(object_of(engine));
  if (!engine->queue.is_empty()) return false;
  if (engine->closed || engine->exiting) return false;
  engine->sleepers.park(sleeper);
  return true;
}

bool is_over(ThreadEngine* engine) {
  const ObjectLock lock(object_of(engine));
  if (!engine->queue.is_empty() || (!engine->closed && !engine->exiting)) return false;
  --engine->threads;
  return true;
}

// work(): what a thread of the pool does, until it is closed and empty.
PyObject* engine_work(PyObject* self, PyObject* /*unused*/) {
  ThreadEngine* const engine = cast(self);
  PoolRendezvous& rendezvous = engine->completer.rendezvous;
  Sleeper sleeper;
  Wakes wakes;
  bool searches = true;
  do {
    drain(engine, searches, wakes);
    if (!lie_down(engine, sleeper)) continue;
    without_gil([&] {
      rendezvous.let_go();
      wakes.ring();
      searches = sleeper.sleep(rendezvous);
      return 0;
    });
    rendezvous.hold();
  } while (!is_over(engine));
  Py_RETURN_NONE;
}

// ---- What others ask of it ----

void future_cancelled(Completer* completer) {
  auto* const engine = reinterpret_cast<ThreadEngine*>(completer);
  const ObjectLock lock(object_of(engine));
  engine->statistics.count(&Statistics::cancelled);
  ++engine->stale;
}

PyObject* engine_close(PyObject* self, PyObject* /*unused*/) {
  Wakes wakes;
  close_engine(cast(self), wakes);
  Py_RETURN_NONE;
}

// put(None): the word of the standard library's queues, by which its exit hook ends the workers.
PyObject* engine_put(PyObject* self, PyObject* /*unused*/) {
  Wakes wakes;
  const ObjectLock lock(self);
  cast(self)->exiting = true;
  cast(self)->sleepers.call_all(wakes);
  Py_RETURN_NONE;
}

void break_promise(Task* task, PyObject* make) {
  Wakes wakes;
  PyObject* const exception = PyObject_CallNoArgs(make);
  task->promise.keep(nullptr, exception != nullptr ? exception : take_exception().release(), wakes);
}

// It has left the queue, and whatever its future is told from now on is not ours to count.
void count_taken(ThreadEngine* engine, const Task* task) {
  Future* const future = task->promise.future();
  if (future != nullptr && is_done(future)) {
    --engine->stale;
    return;
  }
  engine->statistics.count(&Statistics::cancelled);
  if (future != nullptr) Py_CLEAR(future->completer);
}

// take(make): the futures of all queued tasks, which will not run any more. Who was promised
// otherwise, by to_thread() or map(), gets the exception that make() makes.
PyObject* engine_take(PyObject* self, PyObject* make) {
  ThreadEngine* const engine = cast(self);
  Reference futures = Reference::steal(PyList_New(0));
  for (;;) {
    Task* task = nullptr;
    {
      const ObjectLock lock(self);
      task = engine->queue.pop();
      if (task != nullptr) count_taken(engine, task);
    }
    if (task == nullptr) return futures.release();
    if (Future* const future = task->promise.future(); future == nullptr) {
      break_promise(task, make);
    } else if (futures && PyList_Append(futures.get(), reinterpret_cast<PyObject*>(future)) != 0) {
      futures = Reference();
    }
    Task::destroy(task);
  }
}

PyObject* keywords_of(const Task* task) {
  Reference keywords = Reference::steal(PyDict_New());
  for (Py_ssize_t at = task->count; keywords && at < task->total(); ++at) {
    PyObject* const name = PyTuple_GET_ITEM(task->names, at - task->count);
    if (PyDict_SetItem(keywords.get(), name, task->arguments[at]) != 0) return nullptr;
  }
  return keywords.release();
}

PyObject* arguments_of(const Task* task) {
  PyObject* const arguments = PyTuple_New(task->count);
  if (arguments == nullptr) return nullptr;
  for (Py_ssize_t at = 0; at < task->count; ++at) {
    PyTuple_SET_ITEM(arguments, at, Py_NewRef(task->arguments[at]));
  }
  return arguments;
}

// pop(make): the next queued task that has a future, for who runs or cancels it instead of us:
// (future, callable, arguments, keywords). None: there is none. `make` as for take().
PyObject* engine_pop(PyObject* self, PyObject* make) {
  ThreadEngine* const engine = cast(self);
  for (;;) {
    Task* task = nullptr;
    {
      const ObjectLock lock(self);
      task = engine->queue.pop();
      if (task != nullptr) count_taken(engine, task);
    }
    if (task == nullptr) Py_RETURN_NONE;
    PyObject* item = nullptr;
    if (Future* const future = task->promise.future(); future == nullptr) {
      break_promise(task, make);
      Task::destroy(task);
      continue;
    } else {
      const Reference arguments = Reference::steal(arguments_of(task));
      const Reference keywords = Reference::steal(arguments ? keywords_of(task) : nullptr);
      if (keywords) {
        item = PyTuple_Pack(4, reinterpret_cast<PyObject*>(future), task->callable, arguments.get(),
                            keywords.get());
      }
    }
    Task::destroy(task);
    return item;
  }
}

// leave(): a thread that was started will not work().
PyObject* engine_leave(PyObject* self, PyObject* /*unused*/) {
  const ObjectLock lock(self);
  --cast(self)->threads;
  cast(self)->sleepers.end_search();
  Py_RETURN_NONE;
}

// forget(threads): in a child of fork(), where threads and tasks are the parent's, but for the
// worker that forked, if one did.
PyObject* engine_forget(PyObject* self, PyObject* threads) {
  ThreadEngine* const engine = cast(self);
  const std::size_t left = PyLong_AsSize_t(threads);
  if (PyErr_Occurred() != nullptr) return nullptr;
  engine->sleepers = Sleepers{};
  engine->completer.rendezvous.forget();
  engine->threads = engine->running = left;
  engine->stale = 0;
  while (Task* const task = engine->queue.pop()) Task::destroy(task);
  engine->statistics = Statistics{};
  Py_RETURN_NONE;
}

PyObject* engine_qsize(PyObject* self, PyObject* /*unused*/) {
  const ObjectLock lock(self);
  return PyLong_FromSize_t(cast(self)->queue.size());
}

PyObject* engine_empty(PyObject* self, PyObject* /*unused*/) {
  const ObjectLock lock(self);
  return PyBool_FromLong(cast(self)->queue.size() == 0 ? 1 : 0);
}

PyObject* engine_statistics(PyObject* self, PyObject* /*unused*/) {
  ThreadEngine* const engine = cast(self);
  Statistics statistics;
  std::size_t queued = 0;
  std::size_t running = 0;
  std::size_t workers = 0;
  {
    const ObjectLock lock(self);
    statistics = engine->statistics;
    queued = engine->queue.size() - engine->stale;
    running = engine->running;
    workers = engine->threads;
  }
  return statistics.as_dict(queued, running, workers);
}

// ---- The type ----

int engine_traverse(PyObject* self, visitproc visit, void* arg) {
  const ThreadEngine* const engine = cast(self);
  for (const Task* task = engine->queue.first(); task != nullptr; task = task->next) {
    const int seen = task->traverse(visit, arg);
    if (seen != 0) return seen;
  }
  Py_VISIT(reinterpret_cast<PyObject*>(engine->future_class));
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int engine_clear(PyObject* self) {
  while (Task* const task = cast(self)->queue.pop()) Task::destroy(task);
  return 0;
}

void engine_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  engine_clear(self);
  Py_XDECREF(reinterpret_cast<PyObject*>(cast(self)->future_class));
  type->tp_free(self);
  Py_DECREF(type);
}

// watch(bell): have the eventfd told of the next change of the statistics; -1: none.
PyObject* engine_watch(PyObject* self, PyObject* bell) {
  const auto descriptor = static_cast<int>(PyLong_AsLong(bell));
  if (PyErr_Occurred() != nullptr) return nullptr;
  const ObjectLock lock(self);
  cast(self)->statistics.bell = descriptor;
  Py_RETURN_NONE;
}

// resize(limit): at most so many threads from now on; those that there are stay.
PyObject* engine_resize(PyObject* self, PyObject* limit) {
  const std::size_t threads = PyLong_AsSize_t(limit);
  if (PyErr_Occurred() != nullptr) return nullptr;
  const ObjectLock lock(self);
  cast(self)->limit = threads;
  Py_RETURN_NONE;
}

PyMethodDef* methods() {
  static std::array<PyMethodDef, 13> table{{
      {"work", engine_work, METH_NOARGS, nullptr},
      {"close", engine_close, METH_NOARGS, nullptr},
      {"put", engine_put, METH_O, nullptr},
      {"take", engine_take, METH_O, nullptr},
      {"pop", engine_pop, METH_O, nullptr},
      {"leave", engine_leave, METH_NOARGS, nullptr},
      {"forget", engine_forget, METH_O, nullptr},
      {"qsize", engine_qsize, METH_NOARGS, nullptr},
      {"empty", engine_empty, METH_NOARGS, nullptr},
      {"statistics", engine_statistics, METH_NOARGS, nullptr},
      {"watch", engine_watch, METH_O, nullptr},
      {"resize", engine_resize, METH_O, nullptr},
  }};
  return table.data();
}

}  // namespace

bool init_thread_engine(PyObject* module) {
  std::array<PyType_Slot, 5> slots{{{Py_tp_dealloc, slot(engine_dealloc)},
                                    {Py_tp_traverse, slot(engine_traverse)},
                                    {Py_tp_clear, slot(engine_clear)},
                                    {Py_tp_methods, methods()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.ThreadEngine", sizeof(ThreadEngine), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                   slots.data()};
  PyObject* const type = PyType_FromModuleAndSpec(module, &spec, nullptr);
  state_of(module)->thread_engine = reinterpret_cast<PyTypeObject*>(type);
  return type != nullptr;
}

ThreadEngine* make_thread_engine(const ModuleState& state, std::size_t limit) {
  PyObject* const object = state.thread_engine->tp_alloc(state.thread_engine, 0);
  if (object == nullptr) return nullptr;
  ThreadEngine* const engine = cast(object);
  engine->completer.cancelled = future_cancelled;
  new (&engine->queue) TaskQueue;
  new (&engine->sleepers) Sleepers;
  new (&engine->statistics) Statistics;
  engine->future_class = reinterpret_cast<PyTypeObject*>(Py_NewRef(state.future_class));
  engine->limit = limit;
  return engine;
}

bool push_task(ThreadEngine* engine, Task* task, Wakes& wakes) {
  const ObjectLock lock(object_of(engine));
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
  engine->completer.rendezvous.hold();
  sleepers.call_if_needed(wakes);
  return false;
}

bool take_back(ThreadEngine* engine, const Task* task) {
  const ObjectLock lock(object_of(engine));
  return engine->threads == 0 && engine->queue.remove(task);
}

void close_engine(ThreadEngine* engine, Wakes& wakes) {
  const ObjectLock lock(object_of(engine));
  engine->closed = true;
  engine->sleepers.call_all(wakes);
}

}  // namespace unirun::bindings
