#include "python_bindings/pools/thread_pool.h"

#include <array>

#include "python_bindings/exception.h"
#include "python_bindings/pools/map_run.h"
#include "python_bindings/pools/native_pool.h"
#include "python_bindings/pools/thread_engine.h"

namespace unirun::bindings {
namespace {

using Pool = NativePool<ThreadEngine>;

// open_engine(max_workers) -> ThreadEngine: what the pool's threads are to work() on.
PyObject* pool_open(PyObject* self, PyObject* limit) {
  const std::size_t workers = PyLong_AsSize_t(limit);
  if (workers == static_cast<std::size_t>(-1) && PyErr_Occurred() != nullptr) return nullptr;
  const ModuleState* const state = state_of(Py_TYPE(self));
  return Pool::open(self, state == nullptr ? nullptr : make_thread_engine(*state, workers));
}

PyObject* pool_submit(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (count == 0) {
    PyErr_SetString(PyExc_TypeError,
                    "ThreadPoolExecutor.submit() missing 1 required positional argument: 'fn'");
    return nullptr;
  }
  if (Pool::cast(self)->engine == nullptr) {
    const Reference standard = Reference::steal(PyObject_GetAttrString(self, "_submit_standard"));
    return standard
               ? PyObject_Vectorcall(standard.get(), args, static_cast<std::size_t>(count), names)
               : nullptr;
  }
  ThreadEngine* const engine = Pool::engine_of(self);
  if (engine == nullptr) return nullptr;
  Future* const future = make_future(engine->future_class, &engine->completer);
  if (future == nullptr) return nullptr;
  Reference given = Reference::borrow(reinterpret_cast<PyObject*>(future));
  Task* const task = Task::make(Promise(future), args[0], args + 1, count - 1, names);
  return Pool::queue_task(self, engine, task) ? given.release() : nullptr;
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
  ThreadEngine* const engine = Pool::engine_of(self);
  if (engine == nullptr) return nullptr;
  Errand* const errand = make_errand(args[0], args[1]);
  if (errand == nullptr) return nullptr;
  if (!Pool::queue_task(self, engine,
                        Task::make(Promise(errand), args[2], args + 3, count - 3, names)))
    return nullptr;
  Py_RETURN_NONE;
}

// One call for each tuple of `arguments`. False: an exception is set; what was queued before is
// run.
bool queue_calls(PyObject* self, MapRun* run, PyObject* callable, PyObject* arguments) {
  while (const Reference each = Reference::steal(PyIter_Next(arguments))) {
    ThreadEngine* const engine = Pool::engine_of(self);
    std::size_t place = 0;
    if (engine == nullptr || !add_place(run, place)) return false;
    Py_INCREF(reinterpret_cast<PyObject*>(run));
    PyObject* const* const items = PySequence_Fast_ITEMS(each.get());
    Task* const task =
        Task::make(Promise(run, place), callable, items, PyTuple_GET_SIZE(each.get()), nullptr);
    if (!Pool::queue_task(self, engine, task)) return false;
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
  ThreadEngine* const engine = state == nullptr ? nullptr : Pool::engine_of(self);
  if (engine == nullptr) return nullptr;
  MapRun* const run = make_map_run(state->map_run, &engine->completer, timeout);
  if (run == nullptr) return nullptr;
  Reference made = Reference::steal(reinterpret_cast<PyObject*>(run));
  return queue_calls(self, run, callable, tuples) ? made.release() : nullptr;
}

// drop_engine(): what is queued is still done; from now on submit() is the standard one.
PyObject* pool_drop(PyObject* self, PyObject* /*unused*/) {
  Pool::clear(self);
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
  return Pool::init(module, "unirun._pools.NativeThreadPool", methods());
}

}  // namespace unirun::bindings
