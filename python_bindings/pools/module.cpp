// unirun._pools: futures and the engines of task pools. It stands alone, beside unirun._core: no
// event loop, no host, so that it imports in a millisecond, in every interpreter, and on builds
// without the GIL.

#include "python_bindings/pools/module_state.h"
// Python.h first.

#include "python_bindings/pools/future.h"
#include "python_bindings/pools/interpreter_pool.h"
#include "python_bindings/pools/loop_bridge.h"
#include "python_bindings/pools/map_run.h"
#include "python_bindings/pools/process_codec.h"
#include "python_bindings/pools/process_pool.h"
#include "python_bindings/pools/process_worker.h"
#include "python_bindings/pools/thread_engine.h"
#include "python_bindings/pools/thread_pool.h"

namespace unirun::bindings {
namespace {

constexpr std::array state_words{"PENDING", "RUNNING", "CANCELLED", "CANCELLED_AND_NOTIFIED",
                                 "FINISHED"};

ModuleState* cast(void* state) { return static_cast<ModuleState*>(state); }

// bind(future_class, cancelled_error, invalid_state_error, condition_class, log_callback,
// log_unexpected)
PyObject* bind(PyObject* module, PyObject* args) {
  ModuleState* const state = state_of(module);
  std::array<PyObject*, 6> told{};
  if (!PyArg_ParseTuple(args, "OOOOOO", &told[0], &told[1], &told[2], &told[3], &told[4], &told[5]))
    return nullptr;
  const std::array places{&state->future_class,        &state->cancelled_error,
                          &state->invalid_state_error, &state->condition_class,
                          &state->log_callback,        &state->log_unexpected};
  for (std::size_t at = 0; at < told.size(); ++at) Py_XSETREF(*places[at], Py_NewRef(told[at]));
  Py_RETURN_NONE;
}

int execute(PyObject* module) {
  ModuleState* const state = state_of(module);
  for (std::size_t at = 0; at < state_words.size(); ++at) {
    state->state_names[at] = PyUnicode_InternFromString(state_words[at]);
    if (state->state_names[at] == nullptr) return -1;
  }
#if PY_VERSION_HEX >= 0x030C0000
  if (!init_interpreter_pools(module)) return -1;
#endif
  return init_futures(module) && init_loop_bridge(module) && init_map_run(module) &&
                 init_thread_engine(module) && init_thread_pool(module) &&
                 init_process_codec(module) && init_process_pool(module)
             ? 0
             : -1;
}

int traverse(PyObject* module, visitproc visit, void* arg) {
  const void* const state = PyModule_GetState(module);
  return state == nullptr ? 0 : static_cast<const ModuleState*>(state)->traverse(visit, arg);
}

int clear(PyObject* module) {
  if (void* const state = PyModule_GetState(module); state != nullptr) cast(state)->clear();
  return 0;
}

void release(void* module) { clear(static_cast<PyObject*>(module)); }

PyModuleDef* definition() {
  static std::array<PyMethodDef, 3> functions{
      {{"bind", bind, METH_VARARGS, nullptr}, {"work", work, METH_VARARGS, nullptr}, {}}};
  static std::array<PyModuleDef_Slot, 4> slots{{
      {Py_mod_exec, reinterpret_cast<void*>(execute)},
#if PY_VERSION_HEX >= 0x030C0000
      {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_GIL_DISABLED
      {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
      {0, nullptr},
  }};
  static PyModuleDef module{PyModuleDef_HEAD_INIT,
                            "unirun._pools",
                            "Futures and the engines of task pools.",
                            sizeof(ModuleState),
                            functions.data(),
                            slots.data(),
                            traverse,
                            clear,
                            release};
  return &module;
}

}  // namespace

int ModuleState::traverse(visitproc visit, void* arg) const {
  Py_VISIT(future_class);
  Py_VISIT(cancelled_error);
  Py_VISIT(invalid_state_error);
  Py_VISIT(condition_class);
  Py_VISIT(log_callback);
  Py_VISIT(log_unexpected);
  Py_VISIT(reinterpret_cast<PyObject*>(thread_engine));
  Py_VISIT(reinterpret_cast<PyObject*>(loop_bridge));
  Py_VISIT(reinterpret_cast<PyObject*>(map_run));
  Py_VISIT(pickle_writer);
  Py_VISIT(buffer_memory);
  Py_VISIT(reinterpret_cast<PyObject*>(interpreter_engine));
  Py_VISIT(reinterpret_cast<PyObject*>(interpreter_worker));
  return 0;
}

void ModuleState::clear() {
  Py_CLEAR(future_class);
  Py_CLEAR(cancelled_error);
  Py_CLEAR(invalid_state_error);
  Py_CLEAR(condition_class);
  Py_CLEAR(log_callback);
  Py_CLEAR(log_unexpected);
  Py_CLEAR(thread_engine);
  Py_CLEAR(loop_bridge);
  Py_CLEAR(map_run);
  Py_CLEAR(pickle_writer);
  Py_CLEAR(buffer_memory);
  Py_CLEAR(interpreter_engine);
  Py_CLEAR(interpreter_worker);
  for (PyObject*& name : state_names) Py_CLEAR(name);
}

ModuleState* state_of(PyObject* module) { return cast(PyModule_GetState(module)); }

ModuleState* state_of(PyTypeObject* type) {
  PyObject* const module = PyType_GetModuleByDef(type, definition());
  return module == nullptr ? nullptr : state_of(module);
}

}  // namespace unirun::bindings

PyMODINIT_FUNC PyInit__pools() { return PyModuleDef_Init(unirun::bindings::definition()); }
