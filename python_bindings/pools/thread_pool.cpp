#include "python_bindings/pools/thread_pool.h"

#include <array>

#include "python_bindings/exception.h"
#include "python_bindings/pools/map_run.h"
#include "python_bindings/pools/thread_engine.h"

namespace unirun::bindings {
namespace {

struct NativeThreadPool {
  PyObject_HEAD ThreadEngine* engine;  // Null before open_engine().
};

NativeThreadPool* cast(PyObject* object) { return reinterpret_cast<NativeThreadPool*>(object); }

// open_engine(max_workers) -> ThreadEngine: what the pool's threads are to work() on.
PyObject* pool_open(PyObject* self, PyObject* limit) {
  const std::size_t workers = PyLong_AsSize_t(limit);
  if (workers == static_cast<std::size_t>(-1) && PyErr_Occurred() != nullptr) return nullptr;
  const ModuleState* const state = state_of(Py_TYPE(self));
  ThreadEngine* const engine = state == nullptr ? nullptr : make_thread_engine(*state, workers);
  if (engine == nullptr) return nullptr;
  Py_XSETREF(cast(self)->engine, engine);
  return Py_NewRef(reinterpret_cast<PyObject*>(engine));
}

// Has the Python class start a thread. False: an exception is set; the task is gone where nobody is
// there to do it.
bool start_worker(PyObject* self, ThreadEngine* engine, Task* task) {
  const Reference started =
      Reference::steal(PyObject_CallMethod(self, "_adjust_thread_count", nullptr));
  if (started) return true;
  Reference raised = take_exception();
  if (take_back(engine, task)) {
    Task::destroy(task);
  } else if (PyErr_GivenExceptionMatches(raised.get(), PyExc_RuntimeError) != 0) {
    return true;  // One thread more cannot be had; there are others.
  }
  raise_exception(std::move(raised));
  return false;
}

// The engine, if it takes tasks. Null: an exception is set, the one that the standard class raises.
ThreadEngine* engine_of(PyObject* self) {
  ThreadEngine* const engine = cast(self)->engine;
  if (engine != nullptr && !engine->closed && !engine->exiting) return engine;
  const Reference refused = Reference::steal(PyObject_CallMethod(self, "_refuse", nullptr));
  return nullptr;
}

// False: an exception is set.
bool queue_task(PyObject* self, ThreadEngine* engine, Task* task) {
  if (task == nullptr) return false;
  Wakes wakes;
  return !push_task(engine, task, wakes) || start_worker(self, engine, task);
}

PyObject* pool_submit(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (count == 0) {
    PyErr_SetString(PyExc_TypeError,
                    "ThreadPoolExecutor.submit() missing 1 required positional argument: 'fn'");
    return nullptr;
  }
  if (cast(self)->engine == nullptr) {
    const Reference standard = Reference::steal(PyObject_GetAttrString(self, "_submit_standard"));
    return standard
               ? PyObject_Vectorcall(standard.get(), args, static_cast<std::size_t>(count), names)
               : nullptr;
  }
  ThreadEngine* const engine = engine_of(self);
  if (engine == nullptr) return nullptr;
  Future* const future = make_future(engine->future_class, &engine->completer);
  if (future == nullptr) return nullptr;
  Reference given = Reference::borrow(reinterpret_cast<PyObject*>(future));
  Task* const task = Task::make(Promise(future), args[0], args + 1, count - 1, names);
  return queue_task(self, engine, task) ? given.release() : nullptr;
}

// submit_to(bridge, awaited, fn, *args, **kwargs): the outcome goes to an asyncio future of the
// bridge's loop; fn runs in a copy of the current context.
PyObject* pool_submit_to(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  const ModuleState* const state = state_of(Py_TYPE(self));
  if (state == nullptr) return nullptr;
  if (count < 3 || !Py_IS_TYPE(args[0], state->loop_bridge)) {
    PyErr_SetString(PyExc_TypeError, "submit_to(bridge, awaited, fn, ...): bridge is a LoopBridge");
    return nullptr;
  }
  ThreadEngine* const engine = engine_of(self);
  if (engine == nullptr) return nullptr;
  Errand* const errand = make_errand(args[0], args[1]);
  if (errand == nullptr) return nullptr;
  if (!queue_task(self, engine, Task::make(Promise(errand), args[2], args + 3, count - 3, names)))
    return nullptr;
  Py_RETURN_NONE;
}

// One call for each tuple of `arguments`. False: an exception is set; what was queued before is
// run.
bool queue_calls(PyObject* self, MapRun* run, PyObject* callable, PyObject* arguments) {
  while (const Reference each = Reference::steal(PyIter_Next(arguments))) {
    ThreadEngine* const engine = engine_of(self);
    std::size_t place = 0;
    if (engine == nullptr || !add_place(run, place)) return false;
    Py_INCREF(reinterpret_cast<PyObject*>(run));
    PyObject* const* const items = PySequence_Fast_ITEMS(each.get());
    Task* const task =
        Task::make(Promise(run, place), callable, items, PyTuple_GET_SIZE(each.get()), nullptr);
    if (!queue_task(self, engine, task)) return false;
  }
  return PyErr_Occurred() == nullptr;
}

// submit_all(fn, tuples, timeout): queues fn(*each) for each tuple and returns an iterator over the
// results, in their order; `timeout` in seconds for all of them, or None.
PyObject* pool_submit_all(PyObject* self, PyObject* args) {
  PyObject* callable = nullptr;
  PyObject* tuples = nullptr;
  PyObject* timeout = nullptr;
  if (!PyArg_ParseTuple(args, "OOO:submit_all", &callable, &tuples, &timeout)) return nullptr;
  const ModuleState* const state = state_of(Py_TYPE(self));
  ThreadEngine* const engine = state == nullptr ? nullptr : engine_of(self);
  if (engine == nullptr) return nullptr;
  MapRun* const run = make_map_run(state->map_run, &engine->completer, timeout);
  if (run == nullptr) return nullptr;
  Reference made = Reference::steal(reinterpret_cast<PyObject*>(run));
  return queue_calls(self, run, callable, tuples) ? made.release() : nullptr;
}

int pool_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(reinterpret_cast<PyObject*>(cast(self)->engine));
  Py_VISIT(Py_TYPE(self));
  return 0;
}

// An executor that goes away takes no work any more; what is queued is still done.
int pool_clear(PyObject* self) {
  if (cast(self)->engine != nullptr) {
    Wakes wakes;
    close_engine(cast(self)->engine, wakes);
    Py_CLEAR(cast(self)->engine);
  }
  return 0;
}

void pool_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  pool_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// drop_engine(): what is queued is still done; from now on submit() is the standard one.
PyObject* pool_drop(PyObject* self, PyObject* /*unused*/) {
  pool_clear(self);
  Py_RETURN_NONE;
}

PyMethodDef* methods() {
  static std::array<PyMethodDef, 6> table{{
      {"submit", method(pool_submit), METH_FASTCALL | METH_KEYWORDS,
       "submit($self, fn, /, *args, **kwargs)\n--\n\n"
       "Queues fn(*args, **kwargs) for a thread of the pool and returns its Future.\n\n"
       "RuntimeError: the pool is shut down. Thread: any."},
      {"submit_to", method(pool_submit_to), METH_FASTCALL | METH_KEYWORDS, nullptr},
      {"submit_all", pool_submit_all, METH_VARARGS, nullptr},
      {"open_engine", pool_open, METH_O, nullptr},
      {"drop_engine", pool_drop, METH_NOARGS, nullptr},
  }};
  return table.data();
}

}  // namespace

bool init_thread_pool(PyObject* module) {
  std::array<PyType_Slot, 5> slots{{{Py_tp_dealloc, slot(pool_dealloc)},
                                    {Py_tp_traverse, slot(pool_traverse)},
                                    {Py_tp_clear, slot(pool_clear)},
                                    {Py_tp_methods, methods()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.NativeThreadPool", sizeof(NativeThreadPool), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots.data()};
  const Reference type = Reference::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

}  // namespace unirun::bindings
