#include "executors/python/callbacks/shield.h"

#include "executors/python/interpreter/interruption.h"
#include "executors/python/interpreter/raise_in_thread.h"
#include "executors/python/tasks/worker.h"

namespace unirun::python {
namespace {

// What was sent before the shield was there is raised before it is: true, and it is set.
bool raise_pending() {
  const PyThreadState* const state = PyThreadState_Get();
  const Reference pending = Reference::borrow(state->async_exc);
  if (!pending) return false;
  static_cast<void>(raise_in_thread(state->thread_id, nullptr));
  PyErr_SetNone(pending.get());
  return true;
}

PyObject* enter(PyObject* self, PyObject* /*nothing*/) {
  PythonWorker* const worker = PythonWorker::current();
  if (worker != nullptr) {
    worker->raise_shield();  // First: what is sent from now on waits.
    if (raise_pending()) {
      static_cast<void>(worker->lower_shield());
      return nullptr;
    }
  }
  return Py_NewRef(self);
}

PyObject* leave(PyObject* /*self*/, PyObject* /*exception*/) {
  PythonWorker* const worker = PythonWorker::current();
  if (worker == nullptr || !worker->lower_shield()) Py_RETURN_NONE;
  if (PyObject* const interrupted = interruption_to_raise()) PyErr_SetNone(interrupted);
  return nullptr;
}

PyMethodDef shield_methods[] = {{"__enter__", enter, METH_NOARGS, nullptr},
                                {"__exit__", leave, METH_VARARGS, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

constexpr const char* shield_doc =
    "shield()\n--\n\nA context manager: an interruption of this task waits until it ends.";

PyType_Slot shield_slots[] = {
    {Py_tp_methods, shield_methods}, {Py_tp_doc, const_cast<char*>(shield_doc)}, {0, nullptr}};

PyType_Spec shield_spec = {"unirun.shield", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, shield_slots};

}  // namespace

Reference make_shield_type(PyObject* module) {
  return Reference::steal(PyType_FromModuleAndSpec(module, &shield_spec, nullptr));
}

}  // namespace unirun::python
