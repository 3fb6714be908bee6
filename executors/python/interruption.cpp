#include "executors/python/interruption.h"

#include <utility>

namespace unirun::python {
namespace {

constexpr const char* name = "unirun.Interrupted";

// As PyThreadState_SetAsyncExc(), which up to 3.11 may find a thread that is only being started by
// the one that is meant, and bears its id meanwhile: it would die before it has said that it lives,
// and its parent waits for that for ever.
int raise_in_thread(unsigned long id, PyObject* exception) {
  const int found = PyThreadState_SetAsyncExc(id, exception);
#if PY_VERSION_HEX < 0x030C0000
  PyThreadState* first = nullptr;
  PyThreadState* eldest = nullptr;
  PyThreadState* state = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
  for (; state != nullptr; state = PyThreadState_Next(state)) {
    if (state->thread_id != id) continue;
    if (first == nullptr) first = state;
    eldest = state;
  }
  if (first != eldest) Py_XSETREF(eldest->async_exc, std::exchange(first->async_exc, nullptr));
#endif
  return found;
}

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
  return raise_in_thread(id, exception) > 0;
}

void clear_interruption(unsigned long id) { raise_in_thread(id, nullptr); }

}  // namespace unirun::python
