#include "python_bindings/pools/interpreter_pool.h"

#include <array>
#include <utility>

#include "python_bindings/exception.h"
#include "python_bindings/pools/interpreter_engine.h"
#include "python_bindings/pools/interpreter_worker.h"
#include "python_bindings/pools/native_pool.h"

namespace unirun::bindings {
namespace {

using Pool = NativePool<InterpreterEngine>;

// open_engine(max_workers, hooks) -> InterpreterEngine: what the pool's threads work on.
PyObject* pool_open(PyObject* self, PyObject* args) {
  Py_ssize_t limit = 0;
  PyObject* hooks = nullptr;
  if (PyArg_ParseTuple(args, "nO", &limit, &hooks) == 0) return nullptr;
  const ModuleState* const state = state_of(Py_TYPE(self));
  return Pool::open(self, state == nullptr ? nullptr
                                           : make_interpreter_engine(
                                                 *state, static_cast<std::size_t>(limit), hooks));
}

PyObject* submit(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names,
                 bool chunk) {
  if (count == 0) {
    PyErr_SetString(
        PyExc_TypeError,
        "InterpreterPoolExecutor.submit() missing 1 required positional argument: 'fn'");
    return nullptr;
  }
  InterpreterEngine* const engine = Pool::engine_of(self);
  if (engine == nullptr) return nullptr;
  if (PyUnicode_Check(args[0]) != 0) {
    PyErr_SetString(PyExc_TypeError, "scripts not supported");
    return nullptr;
  }
  Future* const future = make_future(engine->future_class, &engine->completer);
  if (future == nullptr) return nullptr;
  Reference given = Reference::borrow(reinterpret_cast<PyObject*>(future));
  InterpreterTask* const task = InterpreterTask::make(future, place_of(engine, args[0]), args[0],
                                                      args + 1, count - 1, names, engine->dumps);
  if (task == nullptr) return nullptr;
  task->chunk = chunk;
  return Pool::queue_task(self, engine, task) ? given.release() : nullptr;
}

PyObject* pool_submit(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return submit(self, args, count, names, false);
}

// submit_chunk(fn, *calls): each of `calls` is a tuple of arguments; the result is a sequence.
PyObject* pool_submit_chunk(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return submit(self, args, count, nullptr, true);
}

PyMethodDef* methods() {
  static std::array<PyMethodDef, 4> table{{
      {"submit", method(pool_submit), METH_FASTCALL | METH_KEYWORDS,
       "submit($self, fn, /, *args, **kwargs)\n--\n\n"
       "Queues fn(*args, **kwargs) for an interpreter of the pool and returns its Future.\n\n"
       "RuntimeError: the pool is shut down. Thread: any."},
      {"submit_chunk", method(pool_submit_chunk), METH_FASTCALL, nullptr},
      {"open_engine", pool_open, METH_VARARGS, nullptr},
  }};
  return table.data();
}

}  // namespace

bool init_interpreter_pools(PyObject* module) {
  if (!init_interpreter_engine(module) || !init_interpreter_worker(module)) return false;
  return Pool::init(module, "unirun._pools.NativeInterpreterPool", methods());
}

}  // namespace unirun::bindings
