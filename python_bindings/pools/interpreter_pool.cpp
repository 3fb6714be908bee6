#include "python_bindings/pools/interpreter_pool.h"

#include <array>
#include <utility>

#include "python_bindings/exception.h"
#include "python_bindings/pools/interpreter_engine.h"
#include "python_bindings/pools/interpreter_worker.h"

namespace unirun::bindings {
namespace {

struct NativeInterpreterPool {
  PyObject_HEAD InterpreterEngine* engine;  // Null before open_engine().
};

NativeInterpreterPool* cast(PyObject* object) {
  return reinterpret_cast<NativeInterpreterPool*>(object);
}

// open_engine(max_workers, hooks) -> InterpreterEngine: what the pool's threads work on.
PyObject* pool_open(PyObject* self, PyObject* args) {
  Py_ssize_t limit = 0;
  PyObject* hooks = nullptr;
  if (PyArg_ParseTuple(args, "nO", &limit, &hooks) == 0) return nullptr;
  const ModuleState* const state = state_of(Py_TYPE(self));
  InterpreterEngine* const engine =
      state == nullptr ? nullptr
                       : make_interpreter_engine(*state, static_cast<std::size_t>(limit), hooks);
  if (engine == nullptr) return nullptr;
  Py_XSETREF(cast(self)->engine, engine);
  return Py_NewRef(reinterpret_cast<PyObject*>(engine));
}

// Has the Python class start a thread; False: an exception is set, and the task is gone.
bool start_worker(PyObject* self, InterpreterEngine* engine, InterpreterTask* task) {
  const Reference started =
      Reference::steal(PyObject_CallMethod(self, "_adjust_thread_count", nullptr));
  if (started) return true;
  Reference raised = take_exception();
  if (take_back(engine, task)) {
    InterpreterTask::destroy(task);
  } else if (PyErr_GivenExceptionMatches(raised.get(), PyExc_RuntimeError) != 0) {
    return true;  // One thread more cannot be had; there are others.
  }
  raise_exception(std::move(raised));
  return false;
}

PyObject* submit(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names,
                 bool chunk) {
  InterpreterEngine* const engine = cast(self)->engine;
  if (count == 0) {
    PyErr_SetString(
        PyExc_TypeError,
        "InterpreterPoolExecutor.submit() missing 1 required positional argument: 'fn'");
    return nullptr;
  }
  if (engine == nullptr || engine->closed || engine->exiting)
    return PyObject_CallMethod(self, "_refuse", nullptr);  // Raises what the standard class would.
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
  Wakes wakes;
  if (push_task(engine, task, wakes) && !start_worker(self, engine, task)) return nullptr;
  return given.release();
}

PyObject* pool_submit(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return submit(self, args, count, names, false);
}

// submit_chunk(fn, *calls): each of `calls` is a tuple of arguments; the result is a sequence.
PyObject* pool_submit_chunk(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return submit(self, args, count, nullptr, true);
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
  std::array<PyType_Slot, 5> slots{{{Py_tp_dealloc, slot(pool_dealloc)},
                                    {Py_tp_traverse, slot(pool_traverse)},
                                    {Py_tp_clear, slot(pool_clear)},
                                    {Py_tp_methods, methods()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.NativeInterpreterPool", sizeof(NativeInterpreterPool), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots.data()};
  const Reference type = Reference::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

}  // namespace unirun::bindings
