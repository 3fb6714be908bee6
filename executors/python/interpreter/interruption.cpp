#include "executors/python/interpreter/interruption.h"

#include <string_view>

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

bool is_importing(PyThreadState* state) {
#ifdef Py_GIL_DISABLED
  static_cast<void>(state);
  return false;  // Nobody may look at the frames of a thread that runs.
#else
  const Reference frame =
      Reference::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(state)));
  if (!frame) return false;
  PyCodeObject* const code = PyFrame_GetCode(reinterpret_cast<PyFrameObject*>(frame.get()));
  const Reference held = Reference::steal(reinterpret_cast<PyObject*>(code));
  const char* const file = PyUnicode_AsUTF8(code->co_filename);
  if (file == nullptr) PyErr_Clear();
  return file != nullptr && std::string_view(file).starts_with("<frozen importlib.");
#endif
}

bool is_interruption_pending(const PyThreadState* state) { return state->async_exc != nullptr; }

}  // namespace unirun::python
