#include "python_bindings/pools/interpreter_worker.h"

#include <marshal.h>

#include <array>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "framework/clock.h"
#include "python_bindings/exception.h"
#include "python_bindings/gil.h"
#include "python_bindings/pools/interpreter_engine.h"

namespace unirun::bindings {
namespace {

struct InterpreterWorker {
  PyObject_HEAD InterpreterEngine* engine;
  PyObject* context;     // Of the home interpreter: keep(place, function), call(fn, args, kwargs).
  std::string far_side;  // Python source: what describe() and unsendable() are.
  PyThreadState* home;
  PyThreadState* own;  // Null once the interpreter has ended.
  bool attached;       // To its own interpreter.
  std::int64_t id;
  Sleeper sleeper;
  bool searches;
  // Objects of its own interpreter.
  std::vector<PyObject*> functions;  // By their place in the engine's table; null: not fetched yet.
  PyObject* fetched;                 // dict, place -> function: where keep() puts them.
  PyObject* names;                   // dict: the far side's functions, or null.
  PyObject* pickle;                  // The module _pickle, or null.
};

InterpreterWorker* cast(PyObject* object) { return reinterpret_cast<InterpreterWorker*>(object); }

// ---- From one interpreter to the other ----

void attach(InterpreterWorker* worker) {
  if (worker->attached) return;
  PyEval_RestoreThread(worker->own);
  worker->attached = true;
}

void detach(InterpreterWorker* worker) {
  if (!worker->attached) return;
  PyEval_SaveThread();
  worker->attached = false;
}

// Calls `step` with the home GIL.
template <class Step>
void at_home(InterpreterWorker* worker, Step step) {
  detach(worker);
  PyThreadState* const home = worker->home;
  or_hang([home] { PyEval_RestoreThread(home); });
  step();
  PyEval_SaveThread();
}

// ---- The interpreter ----

#if PY_VERSION_HEX < 0x030E0000
// Before 3.14 two that are created at once harm each other.
std::mutex& creation() {
  static std::mutex one;
  return one;
}
#endif

// sys.path by marshal: a new interpreter would not know what was added to it. Empty: cannot be
// told.
Reference search_path() {
  PyObject* const path = PySys_GetObject("path");
  const Reference names = path == nullptr ? Reference() : Reference::steal(PySequence_Tuple(path));
  Reference bytes =
      names && is_plain(names.get()) ? Reference::steal(marshalled(names.get())) : Reference();
  PyErr_Clear();
  return bytes;
}

bool set_search_path(const Reference& bytes) {
  if (!bytes) return true;
  const Reference names = Reference::steal(PyMarshal_ReadObjectFromString(
      PyBytes_AS_STRING(bytes.get()), PyBytes_GET_SIZE(bytes.get())));
  const Reference path = names ? Reference::steal(PySequence_List(names.get())) : Reference();
  return path && PySys_SetObject("path", path.get()) == 0;
}

// Leaves the home interpreter attached. False: an exception is set.
bool create_interpreter(InterpreterWorker* worker) {
  const Reference path = search_path();
  PyInterpreterConfig config{};
  config.allow_threads = 1;
  config.check_multi_interp_extensions = 1;
  config.gil = PyInterpreterConfig_OWN_GIL;
#if PY_VERSION_HEX < 0x030E0000
  PyThreadState* const waiting = PyEval_SaveThread();
  const std::lock_guard<std::mutex> lock(creation());
  PyEval_RestoreThread(waiting);
#endif
  PyThreadState* const home = PyThreadState_Get();
  const PyStatus status = Py_NewInterpreterFromConfig(&worker->own, &config);
  if (PyStatus_Exception(status) != 0) {
    worker->own = nullptr;
    PyErr_Format(PyExc_RuntimeError, "no interpreter could be created: %s",
                 status.err_msg != nullptr ? status.err_msg : "unknown error");
    return false;
  }
  worker->id = PyInterpreterState_GetID(PyThreadState_GetInterpreter(worker->own));
  worker->fetched = PyDict_New();
  const bool made = worker->fetched != nullptr && set_search_path(path) &&
                    PySys_SetObject("_unirun_functions", worker->fetched) == 0;
  if (!made) PyErr_Clear();
  PyEval_SaveThread();
  PyEval_RestoreThread(home);
  if (!made) PyErr_NoMemory();
  return made;
}

// REQUIRES: its own interpreter is attached.
void forget_objects(InterpreterWorker* worker) {
  for (PyObject* const function : worker->functions) Py_XDECREF(function);
  worker->functions.clear();
  Py_CLEAR(worker->fetched);
  Py_CLEAR(worker->names);
  Py_CLEAR(worker->pickle);
}

void end_interpreter(InterpreterWorker* worker) {
  if (worker->own == nullptr) return;
  PyThreadState* const home = PyEval_SaveThread();
  attach(worker);
  forget_objects(worker);
  Py_EndInterpreter(worker->own);
  worker->own = nullptr;
  worker->attached = false;
  or_hang([home] { PyEval_RestoreThread(home); });
}

// ---- One task; its own interpreter is attached ----

PyObject* pickle_function(InterpreterWorker* worker, const char* name) {
  if (worker->pickle == nullptr) worker->pickle = PyImport_ImportModule("_pickle");
  return worker->pickle == nullptr ? nullptr : PyObject_GetAttrString(worker->pickle, name);
}

// Null: an exception is set.
PyObject* unpickled(InterpreterWorker* worker, PyObject* bytes_of_home) {
  const Reference loads = Reference::steal(pickle_function(worker, "loads"));
  const Reference view = Reference::steal(PyMemoryView_FromMemory(
      PyBytes_AS_STRING(bytes_of_home), PyBytes_GET_SIZE(bytes_of_home), PyBUF_READ));
  return loads && view ? PyObject_CallOneArg(loads.get(), view.get()) : nullptr;
}

PyObject* pickled(InterpreterWorker* worker, PyObject* object) {
  const Reference dumps = Reference::steal(pickle_function(worker, "dumps"));
  return dumps ? PyObject_CallFunction(dumps.get(), "Oi", object, 5) : nullptr;
}

// Borrowed; null: an exception is set.
PyObject* far_function(InterpreterWorker* worker, const char* name) {
  if (worker->names == nullptr) {
    const Reference names = Reference::steal(PyDict_New());
    const Reference code = Reference::steal(
        Py_CompileString(worker->far_side.c_str(), "<unirun interpreter>", Py_file_input));
    if (!names || !code ||
        PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins()) != 0)
      return nullptr;
    const Reference done = Reference::steal(PyEval_EvalCode(code.get(), names.get(), names.get()));
    if (!done) return nullptr;
    worker->names = Py_NewRef(names.get());
  }
  return PyDict_GetItemString(worker->names, name);
}

// The exception that is set is what the task ends with; `result` is what could not be sent, or
// null.
void tell_exception(InterpreterWorker* worker, InterpreterTask* task, PyObject* result) {
  const Reference raised = take_exception();
  PyObject* const tell = far_function(worker, result == nullptr ? "describe" : "unsendable");
  const Reference told = Reference::steal(
      tell == nullptr ? nullptr
                      : PyObject_CallFunctionObjArgs(tell, raised.get(), result, nullptr));
  const Reference bytes = told ? Reference::steal(marshalled(told.get())) : Reference();
  task->ending = result == nullptr ? Ending::error : Ending::unsendable;
  if (bytes) static_cast<void>(task->set_outcome(task->ending, bytes.get()));
  PyErr_Clear();  // Where memory is short it is told that nothing came.
}

void send_result(InterpreterWorker* worker, InterpreterTask* task, PyObject* result) {
  if (!task->wants_result) {
    task->ending = Ending::discarded;
    return;
  }
  const bool plain = is_plain(result);
  const Reference bytes = Reference::steal(plain ? marshalled(result) : pickled(worker, result));
  task->carriage = plain ? Carriage::plain : Carriage::pickled;
  if (!bytes) return tell_exception(worker, task, result);
  if (task->set_outcome(Ending::result, bytes.get())) return;
  PyErr_NoMemory();
  tell_exception(worker, task, nullptr);
}

// True: keep() has put it into `fetched`, or here it is as it was pickled.
bool fetch(InterpreterWorker* worker, std::size_t place) {
  Reference sent;
  at_home(worker, [&] {
    PyObject* const function = worker->engine->functions[place];
    sent = Reference::steal(PyObject_CallMethod(worker->context, "keep", "nO",
                                                static_cast<Py_ssize_t>(place), function));
    if (!sent) PyErr_Clear();  // The standard machinery, which goes the same way, says why.
  });
  attach(worker);
  if (!sent) return false;
  bool there = true;
  if (PyBytes_Check(sent.get())) {
    const Reference function = Reference::steal(unpickled(worker, sent.get()));
    const Reference key = Reference::steal(PyLong_FromSize_t(place));
    there = function && key && PyDict_SetItem(worker->fetched, key.get(), function.get()) == 0;
    PyErr_Clear();
  }
  at_home(worker, [&] { sent = Reference(); });
  attach(worker);
  return there;
}

// Borrowed; null: it cannot be had here.
PyObject* known_function(InterpreterWorker* worker, std::size_t place) {
  auto& functions = worker->functions;
  if (place < functions.size() && functions[place] != nullptr) return functions[place];
  if (!fetch(worker, place)) return nullptr;
  const Reference key = Reference::steal(PyLong_FromSize_t(place));
  PyObject* const function = key ? PyDict_GetItem(worker->fetched, key.get()) : nullptr;
  if (function == nullptr) return nullptr;
  if (functions.size() <= place) functions.resize(place + 1, nullptr);
  functions[place] = Py_NewRef(function);
  PyDict_Clear(worker->fetched);
  return functions[place];
}

// By the standard library's machinery, from home.
void run_from_home(InterpreterWorker* worker, InterpreterTask* task) {
  at_home(worker, [&] {
    InterpreterEngine* const engine = worker->engine;
    PyObject* const function =
        task->function == not_in_table ? nullptr : engine->functions[task->function];
    if (task->unpack(function))
      task->returned = PyObject_CallMethod(worker->context, task->chunk ? "call_each" : "call",
                                           "OOO", task->callable, task->arguments, task->keywords);
    if (task->returned == nullptr) task->raised = take_exception().release();
    task->ending = Ending::home;
  });
}

// The results of a chunk; null: an exception is set.
PyObject* call_each(PyObject* function, PyObject* calls) {
  Reference results = Reference::steal(PyTuple_New(PyTuple_GET_SIZE(calls)));
  for (Py_ssize_t at = 0; results && at < PyTuple_GET_SIZE(calls); ++at) {
    PyObject* const result = PyObject_CallObject(function, PyTuple_GET_ITEM(calls, at));
    if (result == nullptr) return nullptr;
    PyTuple_SET_ITEM(results.get(), at, result);
  }
  return results.release();
}

// False: it is for the standard machinery.
bool run_here(InterpreterWorker* worker, InterpreterTask* task) {
  PyObject* const function = known_function(worker, task->function);
  if (function == nullptr) return false;
  PyObject* keywords = nullptr;
  PyObject* arguments = nullptr;
  Reference call;
  if (task->carriage == Carriage::plain) {
    call = Reference::steal(PyMarshal_ReadObjectFromString(PyBytes_AS_STRING(task->frame),
                                                           PyBytes_GET_SIZE(task->frame)));
    arguments = call.get();
  } else {
    call = Reference::steal(unpickled(worker, task->frame));
    if (call) {
      arguments = PyTuple_GET_ITEM(call.get(), 0);
      keywords = PyTuple_GET_ITEM(call.get(), 1);
    }
  }
  if (!call) {
    PyErr_Clear();
    return false;
  }
  const Reference result = Reference::steal(task->chunk ? call_each(function, arguments)
                                            : keywords == nullptr || keywords == Py_None
                                                ? PyObject_CallObject(function, arguments)
                                                : PyObject_Call(function, arguments, keywords));
  call = Reference();
  if (result)
    send_result(worker, task, result.get());
  else
    tell_exception(worker, task, nullptr);
  return true;
}

void run_task(InterpreterWorker* worker, InterpreterTask* task) {
  if (!claim_future(task->future)) {
    task->ending = Ending::cancelled;
    return;
  }
  if (task->carriage != Carriage::standard) {
    attach(worker);
    if (run_here(worker, task)) return;
  }
  run_from_home(worker, task);
}

void run_timed(InterpreterWorker* worker, InterpreterTask* task) {
  const SystemClock clock;
  const bool timed = task->is_timed();
  const Instant began = timed ? clock.now() : Instant{};
  run_task(worker, task);
  const Instant ended = timed ? clock.now() : Instant{};
  put_done(worker->engine, task, began - task->queued_at, ended - began);
}

// ---- Methods ----

// run(): takes tasks until the pool is closed and its queue empty.
PyObject* worker_run(PyObject* self, PyObject* /*unused*/) {
  InterpreterWorker* const worker = cast(self);
  InterpreterEngine* const engine = worker->engine;
  worker->home = PyEval_SaveThread();
  Wakes wakes;
  for (;;) {
    InterpreterTask* const task = take_task(engine, worker->sleeper, worker->searches, wakes);
    wakes.ring();
    if (task == nullptr) {
      detach(worker);
      deliver(engine, worker->home, &worker->sleeper);
      worker->searches = worker->sleeper.sleep(engine->completer.rendezvous);
      if (is_to_leave(engine, worker->searches)) break;
      continue;
    }
    // What is done does not wait for this one, which may take long.
    if (engine->done.has_some()) {
      if (is_to_deliver(engine)) {
        detach(worker);
        deliver(engine, worker->home, nullptr);
      } else {
        rouse_guard(engine);
      }
    }
    run_timed(worker, task);
  }
  PyThreadState* const home = worker->home;
  or_hang([home] { PyEval_RestoreThread(home); });
  Py_RETURN_NONE;
}

// call(fn, *args) -> Future: calls it here and now; its result is dropped.
PyObject* worker_call(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  InterpreterWorker* const worker = cast(self);
  InterpreterEngine* const engine = worker->engine;
  Future* const future = make_future(engine->future_class, nullptr);
  if (future == nullptr) return nullptr;
  Reference given = Reference::borrow(reinterpret_cast<PyObject*>(future));
  InterpreterTask* const task = InterpreterTask::make(future, place_of(engine, args[0]), args[0],
                                                      args + 1, count - 1, nullptr, engine->dumps);
  if (task == nullptr) return nullptr;
  task->wants_result = false;
  worker->home = PyEval_SaveThread();
  run_task(worker, task);
  detach(worker);
  PyThreadState* const home = worker->home;
  or_hang([home] { PyEval_RestoreThread(home); });
  Wakes wakes;
  complete(engine, task, wakes);
  InterpreterTask::destroy(task);
  return given.release();
}

// use(context): who fetches functions and makes the calls that are not for us.
PyObject* worker_use(PyObject* self, PyObject* context) {
  Py_XSETREF(cast(self)->context, Py_NewRef(context));
  Py_RETURN_NONE;
}

// close(): ends the interpreter.
PyObject* worker_close(PyObject* self, PyObject* /*unused*/) {
  end_interpreter(cast(self));
  Py_CLEAR(cast(self)->context);
  Py_RETURN_NONE;
}

PyObject* worker_id(PyObject* self, void* /*unused*/) {
  return PyLong_FromLongLong(cast(self)->id);
}

// ---- The type ----

int worker_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(reinterpret_cast<PyObject*>(cast(self)->engine));
  Py_VISIT(cast(self)->context);
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int worker_clear(PyObject* self) {
  Py_CLEAR(cast(self)->context);
  return 0;
}

void worker_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  worker_clear(self);
  Py_XDECREF(reinterpret_cast<PyObject*>(cast(self)->engine));
  std::destroy_at(&cast(self)->functions);
  std::destroy_at(&cast(self)->far_side);
  type->tp_free(self);
  Py_DECREF(type);
}

}  // namespace

bool is_known_by_name(PyObject* callable) {
  if (PyCFunction_CheckExact(callable) != 0) {
    PyObject* const of = PyCFunction_GET_SELF(callable);
    return of == nullptr || PyModule_Check(of) != 0;
  }
  const bool function = PyFunction_Check(callable) != 0;
  if (!function && PyType_Check(callable) == 0) return false;
  if (function && PyFunction_GetClosure(callable) != nullptr) return false;
  const Reference name = Reference::steal(PyObject_GetAttrString(callable, "__qualname__"));
  if (!name || PyUnicode_Check(name.get()) == 0) {
    PyErr_Clear();
    return false;
  }
  // "<lambda>", "f.<locals>.g": there may be a new one each time.
  return PyUnicode_FindChar(name.get(), '<', 0, PyUnicode_GET_LENGTH(name.get()), 1) == -1;
}

bool init_interpreter_worker(PyObject* module) {
  static std::array<PyMethodDef, 5> methods{{
      {"run", worker_run, METH_NOARGS, nullptr},
      {"call", method(worker_call), METH_FASTCALL, nullptr},
      {"use", worker_use, METH_O, nullptr},
      {"close", worker_close, METH_NOARGS, nullptr},
  }};
  static std::array<PyGetSetDef, 2> fields{{{"id", worker_id, nullptr, nullptr, nullptr}}};
  std::array<PyType_Slot, 6> slots{{{Py_tp_dealloc, slot(worker_dealloc)},
                                    {Py_tp_traverse, slot(worker_traverse)},
                                    {Py_tp_clear, slot(worker_clear)},
                                    {Py_tp_methods, methods.data()},
                                    {Py_tp_getset, fields.data()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.InterpreterWorker", sizeof(InterpreterWorker), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                   slots.data()};
  PyObject* const type = PyType_FromModuleAndSpec(module, &spec, nullptr);
  state_of(module)->interpreter_worker = reinterpret_cast<PyTypeObject*>(type);
  return type != nullptr;
}

PyObject* make_interpreter_worker(InterpreterEngine* engine) {
  const ModuleState* const state = state_of(Py_TYPE(reinterpret_cast<PyObject*>(engine)));
  if (state == nullptr) return nullptr;
  const Reference source = Reference::steal(PyObject_GetAttrString(engine->hooks, "far_side"));
  const char* const text = source ? PyUnicode_AsUTF8(source.get()) : nullptr;
  if (text == nullptr) return nullptr;
  Reference made =
      Reference::steal(state->interpreter_worker->tp_alloc(state->interpreter_worker, 0));
  if (!made) return nullptr;
  InterpreterWorker* const worker = cast(made.get());
  new (&worker->far_side) std::string(text);
  new (&worker->functions) std::vector<PyObject*>;
  new (&worker->sleeper) Sleeper;
  worker->engine =
      reinterpret_cast<InterpreterEngine*>(Py_NewRef(reinterpret_cast<PyObject*>(engine)));
  worker->searches = true;
  if (create_interpreter(worker)) return made.release();
  end_interpreter(worker);
  return nullptr;
}

}  // namespace unirun::bindings
