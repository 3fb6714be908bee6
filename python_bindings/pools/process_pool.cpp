#include "python_bindings/pools/process_pool.h"

#include <algorithm>
#include <array>
#include <new>

#include "python_bindings/gil.h"
#include "python_bindings/pools/module_state.h"
#include "python_bindings/pools/process_engine.h"

namespace unirun::bindings {
namespace {

// ---- ProcessEngine ----

struct EngineObject {
  Completer completer;
  ProcessEngine* engine;
};

ProcessEngine* engine_of(PyObject* self) { return reinterpret_cast<EngineObject*>(self)->engine; }

int wait_for(Completer* completer, Future* future, const Instant* deadline) {
  auto* const self = reinterpret_cast<PyObject*>(completer);
  const ObjectLock lock(self);
  return engine_of(self)->wait(future, deadline);
}

void expect_wait(Completer* completer, Wakes& /*wakes*/) {
  auto* const self = reinterpret_cast<PyObject*>(completer);
  const ObjectLock lock(self);
  engine_of(self)->expect_manager();
}

// ProcessEngine(make_pickler, reuse, loads, refuse_pickle)
PyObject* engine_new(PyTypeObject* type, PyObject* args, PyObject* /*kwargs*/) {
  PyObject* make_pickler = nullptr;
  int reuse = 0;
  PyObject* loads = nullptr;
  PyObject* refuse_pickle = nullptr;
  if (PyArg_ParseTuple(args, "OpOO", &make_pickler, &reuse, &loads, &refuse_pickle) == 0)
    return nullptr;
  const ModuleState* const state = state_of(type);
  if (state == nullptr) return nullptr;
  Reference self = Reference::steal(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  auto* const object = reinterpret_cast<EngineObject*>(self.get());
  object->completer.before_wait = expect_wait;
  object->completer.wait = wait_for;
  object->engine = new (std::nothrow) ProcessEngine(
      self.get(), reinterpret_cast<PyTypeObject*>(state->future_class), loads, refuse_pickle);
  if (object->engine == nullptr) return PyErr_NoMemory();
  if (!object->engine->init(make_pickler, reuse != 0)) return nullptr;
  return self.release();
}

int engine_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return engine_of(self) == nullptr ? 0 : engine_of(self)->traverse(visit, arg);
}

int engine_clear(PyObject* self) {
  if (engine_of(self) != nullptr) engine_of(self)->clear();
  return 0;
}

void engine_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  engine_clear(self);
  delete engine_of(self);
  type->tp_free(self);
  Py_DECREF(type);
}

template <PyObject* (ProcessEngine::*function)()>
PyObject* call(PyObject* self, PyObject* /*unused*/) {
  const ObjectLock lock(self);
  return (engine_of(self)->*function)();
}

template <void (ProcessEngine::*function)()>
PyObject* call_procedure(PyObject* self, PyObject* /*unused*/) {
  const ObjectLock lock(self);
  (engine_of(self)->*function)();
  Py_RETURN_NONE;
}

PyObject* engine_attach(PyObject* self, PyObject* args) {
  unsigned long long id = 0;
  int sentinel = -1;
  if (PyArg_ParseTuple(args, "Ki", &id, &sentinel) == 0) return nullptr;
  const ObjectLock lock(self);
  engine_of(self)->attach(id, sentinel);
  Py_RETURN_NONE;
}

PyObject* engine_bury(PyObject* self, PyObject* id) {
  const unsigned long long number = PyLong_AsUnsignedLongLong(id);
  if (PyErr_Occurred() != nullptr) return nullptr;
  const ObjectLock lock(self);
  return engine_of(self)->bury(number);
}

// Seconds, or None. False: an exception is set.
bool read_timeout(PyObject* value, Duration& timeout) {
  if (value == nullptr || value == Py_None) {
    timeout = {};
    return true;
  }
  const double seconds = PyFloat_AsDouble(value);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) return false;
  if (!(seconds > 0) || seconds > 1e9) {
    PyErr_Format(PyExc_ValueError, "timeout must be a number of seconds above 0, not %R", value);
    return false;
  }
  timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  return true;
}

// schedule(fn, args, kwargs, timeout): the future, or None where the pool is not open.
PyObject* engine_schedule(PyObject* self, PyObject* args) {
  PyObject* callable = nullptr;
  PyObject* arguments = nullptr;
  PyObject* keywords = nullptr;
  PyObject* seconds = nullptr;
  if (PyArg_ParseTuple(args, "OO!OO", &callable, &PyTuple_Type, &arguments, &keywords, &seconds) ==
      0)
    return nullptr;
  Duration timeout{};
  if (!read_timeout(seconds, timeout)) return nullptr;
  const ObjectLock lock(self);
  if (!engine_of(self)->is_open) Py_RETURN_NONE;
  if (timeout == Duration{}) timeout = engine_of(self)->default_timeout;
  const bool has_keywords = keywords != Py_None && PyDict_GET_SIZE(keywords) > 0;
  return engine_of(self)->submit(callable, Reference::borrow(arguments),
                                 has_keywords ? Reference::borrow(keywords) : Reference(), timeout);
}

// As the standard library's semaphore of idle workers: one for each call that has ended.
PyObject* engine_take_idle_token(PyObject* self, PyObject* /*unused*/) {
  const ObjectLock lock(self);
  std::size_t& tokens = engine_of(self)->idle_tokens;
  if (tokens == 0) Py_RETURN_FALSE;
  --tokens;
  Py_RETURN_TRUE;
}

PyObject* engine_fail(PyObject* self, PyObject* args) {
  PyObject* future = nullptr;
  PyObject* error = nullptr;
  const ModuleState* const state = state_of(Py_TYPE(self));
  if (state == nullptr || PyArg_ParseTuple(args, "O!O", state->future_class, &future, &error) == 0)
    return nullptr;
  const ObjectLock lock(self);
  engine_of(self)->fail(future, error);
  Py_RETURN_NONE;
}

PyObject* engine_set_restart_limits(PyObject* self, PyObject* args) {
  Py_ssize_t most = 0;
  double seconds = 0;
  if (PyArg_ParseTuple(args, "nd", &most, &seconds) == 0) return nullptr;
  const double kept = std::clamp(seconds, 1e-9, 1e9);
  if (most < 0 || !(seconds > 0)) {
    PyErr_SetString(PyExc_ValueError, "restart limits must be a count and a time above 0");
    return nullptr;
  }
  const ObjectLock lock(self);
  engine_of(self)->set_restart_limits(
      {static_cast<std::uint64_t>(most),
       std::chrono::ceil<Duration>(std::chrono::duration<double>(kept))});
  Py_RETURN_NONE;
}

PyObject* engine_tolerates_restart(PyObject* self, PyObject* /*unused*/) {
  const ObjectLock lock(self);
  return PyBool_FromLong(engine_of(self)->tolerates_restart() ? 1 : 0);
}

PyObject* engine_watch(PyObject* self, PyObject* bell) {
  const auto descriptor = static_cast<int>(PyLong_AsLong(bell));
  if (PyErr_Occurred() != nullptr) return nullptr;
  const ObjectLock lock(self);
  engine_of(self)->watch(descriptor);
  Py_RETURN_NONE;
}

PyObject* engine_statistics(PyObject* self, PyObject* workers) {
  const std::size_t count = PyLong_AsSize_t(workers);
  if (PyErr_Occurred() != nullptr) return nullptr;
  const ObjectLock lock(self);
  return engine_of(self)->statistics(count);
}

template <bool ProcessEngine::*member>
PyObject* get_flag(PyObject* self, void* /*unused*/) {
  return PyBool_FromLong(engine_of(self)->*member ? 1 : 0);
}

template <bool ProcessEngine::*member>
int set_flag(PyObject* self, PyObject* value, void* /*unused*/) {
  const int truth = value == nullptr ? 0 : PyObject_IsTrue(value);
  if (truth < 0) return -1;
  const ObjectLock lock(self);
  engine_of(self)->*member = truth != 0;
  return 0;
}

PyObject* get_pending(PyObject* self, void* /*unused*/) {
  const ObjectLock lock(self);
  return PyLong_FromSize_t(engine_of(self)->pending());
}

PyObject* get_unfinished(PyObject* self, void* /*unused*/) {
  const ObjectLock lock(self);
  return PyLong_FromSize_t(engine_of(self)->unfinished());
}

PyObject* get_damage(PyObject* self, void* /*unused*/) {
  const ObjectLock lock(self);
  return Py_NewRef(engine_of(self)->damage ? engine_of(self)->damage.get() : Py_None);
}

int set_default_timeout(PyObject* self, PyObject* value, void* /*unused*/) {
  return read_timeout(value, engine_of(self)->default_timeout) ? 0 : -1;
}

// ---- NativeProcessPool: the base of ProcessPoolExecutor ----

struct PoolObject {
  PyObject_HEAD PyObject* engine;  // Null: the standard machinery serves this pool.
};

PoolObject* pool_of(PyObject* self) { return reinterpret_cast<PoolObject*>(self); }

PyObject* keywords_from(PyObject* const* values, PyObject* names) {
  PyObject* const keywords = PyDict_New();
  for (Py_ssize_t at = 0; keywords != nullptr && at < PyTuple_GET_SIZE(names); ++at) {
    if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(names, at), values[at]) == 0) continue;
    Py_DECREF(keywords);
    return nullptr;
  }
  return keywords;
}

// submit(fn, /, *args, **kwargs)
PyObject* pool_submit(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (count < 1) {
    PyErr_SetString(PyExc_TypeError,
                    "ProcessPoolExecutor.submit() missing 1 required positional argument: 'fn'");
    return nullptr;
  }
  Reference arguments = Reference::steal(PyTuple_New(count - 1));
  if (!arguments) return nullptr;
  for (Py_ssize_t at = 1; at < count; ++at)
    PyTuple_SET_ITEM(arguments.get(), at - 1, Py_NewRef(args[at]));
  Reference keywords;
  if (names != nullptr && PyTuple_GET_SIZE(names) > 0) {
    keywords = Reference::steal(keywords_from(args + count, names));
    if (!keywords) return nullptr;
  }
  const Reference kept = Reference::borrow(pool_of(self)->engine);
  if (kept) {
    const ObjectLock lock(kept.get());
    ProcessEngine* const engine = engine_of(kept.get());
    const bool grows = engine->may_grow && engine->idle_tokens == 0;
    if (engine->is_open && !grows) {
      if (engine->idle_tokens > 0) --engine->idle_tokens;
      return engine->submit(args[0], std::move(arguments), std::move(keywords),
                            engine->default_timeout);
    }
  }
  // The pool has to start, or to start a worker, or does not take the call: Python's part.
  return PyObject_CallMethod(self, "_submit_with_care", "OOO", args[0], arguments.get(),
                             keywords ? keywords.get() : Py_None);
}

PyObject* get_engine(PyObject* self, void* /*unused*/) {
  PyObject* const engine = pool_of(self)->engine;
  return Py_NewRef(engine != nullptr ? engine : Py_None);
}

int set_engine(PyObject* self, PyObject* value, void* /*unused*/) {
  const bool none = value == nullptr || value == Py_None;
  if (!none && Py_TYPE(value)->tp_dealloc != engine_dealloc) {
    PyErr_SetString(PyExc_TypeError, "_engine must be a ProcessEngine or None");
    return -1;
  }
  PyObject* const before = std::exchange(pool_of(self)->engine, none ? nullptr : Py_NewRef(value));
  Py_XDECREF(before);
  return 0;
}

int pool_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(pool_of(self)->engine);
  return 0;
}

int pool_clear(PyObject* self) {
  Py_CLEAR(pool_of(self)->engine);
  return 0;
}

void pool_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  pool_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

bool add_engine_type(PyObject* module) {
  static std::array<PyMethodDef, 21> methods{
      {{"open_worker", call<&ProcessEngine::open_worker>, METH_NOARGS, nullptr},
       {"attach", engine_attach, METH_VARARGS, nullptr},
       {"bury", engine_bury, METH_O, nullptr},
       {"schedule", engine_schedule, METH_VARARGS, nullptr},
       {"serve", call<&ProcessEngine::serve>, METH_NOARGS, nullptr},
       {"watch_workers", call<&ProcessEngine::watch_workers>, METH_NOARGS, nullptr},
       {"stop_watching", call_procedure<&ProcessEngine::stop_watching>, METH_NOARGS, nullptr},
       {"fail", engine_fail, METH_VARARGS, nullptr},
       {"set_restart_limits", engine_set_restart_limits, METH_VARARGS, nullptr},
       {"tolerates_restart", engine_tolerates_restart, METH_NOARGS, nullptr},
       {"calls", call<&ProcessEngine::calls>, METH_NOARGS, nullptr},
       {"abandon", call<&ProcessEngine::abandon>, METH_NOARGS, nullptr},
       {"cancel_queued", call_procedure<&ProcessEngine::cancel_queued>, METH_NOARGS, nullptr},
       {"stop_workers", call_procedure<&ProcessEngine::stop_workers>, METH_NOARGS, nullptr},
       {"call_for_attention", call_procedure<&ProcessEngine::call_for_attention>, METH_NOARGS,
        nullptr},
       {"after_fork", call_procedure<&ProcessEngine::after_fork>, METH_NOARGS, nullptr},
       {"close", call_procedure<&ProcessEngine::close>, METH_NOARGS, nullptr},
       {"take_idle_token", engine_take_idle_token, METH_NOARGS, nullptr},
       {"statistics", engine_statistics, METH_O, nullptr},
       {"watch", engine_watch, METH_O, nullptr},
       {}}};
  static std::array<PyGetSetDef, 7> attributes{
      {{"is_open", get_flag<&ProcessEngine::is_open>, set_flag<&ProcessEngine::is_open>, nullptr,
        nullptr},
       {"may_grow", get_flag<&ProcessEngine::may_grow>, set_flag<&ProcessEngine::may_grow>, nullptr,
        nullptr},
       {"pending", get_pending, nullptr, nullptr, nullptr},
       {"unfinished", get_unfinished, nullptr, nullptr, nullptr},
       {"damage", get_damage, nullptr, nullptr, nullptr},
       {"default_timeout", nullptr, set_default_timeout, nullptr, nullptr},
       {}}};
  std::array<PyType_Slot, 7> slots{{{Py_tp_new, slot(engine_new)},
                                    {Py_tp_dealloc, slot(engine_dealloc)},
                                    {Py_tp_traverse, slot(engine_traverse)},
                                    {Py_tp_clear, slot(engine_clear)},
                                    {Py_tp_methods, methods.data()},
                                    {Py_tp_getset, attributes.data()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.ProcessEngine", sizeof(EngineObject), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots.data()};
  const Reference type = Reference::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

bool add_pool_type(PyObject* module) {
  static std::array<PyMethodDef, 2> methods{
      {{"submit", reinterpret_cast<PyCFunction>(slot(pool_submit)), METH_FASTCALL | METH_KEYWORDS,
        "submit($self, fn, /, *args, **kwargs)\n--\n\nCalls fn(*args, **kwargs) in a worker "
        "process; its Future."},
       {}}};
  static std::array<PyGetSetDef, 2> attributes{
      {{"_engine", get_engine, set_engine, nullptr, nullptr}, {}}};
  std::array<PyType_Slot, 6> slots{{{Py_tp_dealloc, slot(pool_dealloc)},
                                    {Py_tp_traverse, slot(pool_traverse)},
                                    {Py_tp_clear, slot(pool_clear)},
                                    {Py_tp_methods, methods.data()},
                                    {Py_tp_getset, attributes.data()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.NativeProcessPool", sizeof(PoolObject), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots.data()};
  const Reference type = Reference::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

}  // namespace

bool init_process_pool(PyObject* module) {
  return add_engine_type(module) && add_pool_type(module);
}

}  // namespace unirun::bindings
