#include "executors/python/interpreter/interruption.h"

#include "executors/python/interpreter/raise_in_thread.h"

namespace unirun::python {
namespace {

constexpr const char* name = "unirun.Interrupted";

}  // namespace

PyObject* interrupted_class() {
  PyObject* const kept = PyInterpreterState_GetDict(PyInterpreterState_Get());
  if (kept == nullptr) return nullptr;
  if (PyObject* const found = PyDict_GetItemString(kept, name); found != nullptr) return found;
  const Reference made = Reference::steal(PyErr_NewExceptionWithDoc(
      name, "What asks the code of a task to end. It ends the task, not the thread.",
      PyExc_BaseException, nullptr));
  if (!made || PyDict_SetItemString(kept, name, made.get()) != 0) return nullptr;
  return made.get();  // The interpreter keeps it.
}

bool interrupt_thread(unsigned long id) {
  PyObject* const exception = interrupted_class();
  if (exception == nullptr) {
    PyErr_Clear();
    return false;
  }
  return raise_in_thread(id, exception);
}

void clear_interruption(unsigned long id) { static_cast<void>(raise_in_thread(id, nullptr)); }

bool is_interruption_pending(const PyThreadState* state) { return state->async_exc != nullptr; }

}  // namespace unirun::python
