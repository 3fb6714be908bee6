#include "executors/python/interpreter/interruption.h"

#include <atomic>

#include "executors/python/interpreter/kept_object.h"
#include "executors/python/interpreter/raise_in_thread.h"

namespace unirun::python {
namespace {

std::atomic<bool> is_keyboard_interrupt{false};

PyObject* class_of_this_interpreter(const char* name, const char* what, PyObject* bases) {
  return kept_object(name, [&] {
    return Reference::steal(PyErr_NewExceptionWithDoc(name, what, bases, nullptr));
  });
}

}  // namespace

PyObject* interrupted_class() {
  return class_of_this_interpreter(
      "unirun.Interrupted",
      "What asks the code of a task to end. It ends the task, not the thread.",
      PyExc_BaseException);
}

void raise_as_keyboard_interrupt(bool wanted) { is_keyboard_interrupt = wanted; }

PyObject* interruption_to_raise() {
  PyObject* const interrupted = interrupted_class();
  if (interrupted == nullptr || !is_keyboard_interrupt) return interrupted;
  const Reference both = Reference::steal(PyTuple_Pack(2, interrupted, PyExc_KeyboardInterrupt));
  if (!both) return nullptr;
  return class_of_this_interpreter("unirun.KeyboardInterrupted",
                                   "Interrupted, for code that handles KeyboardInterrupt.",
                                   both.get());
}

bool interrupt_thread(unsigned long id) {
  PyObject* const exception = interruption_to_raise();
  if (exception == nullptr) {
    PyErr_Clear();
    return false;
  }
  return raise_in_thread(id, exception);
}

void clear_interruption(unsigned long id) { static_cast<void>(raise_in_thread(id, nullptr)); }

bool is_interruption_pending(const PyThreadState* state) { return state->async_exc != nullptr; }

}  // namespace unirun::python
