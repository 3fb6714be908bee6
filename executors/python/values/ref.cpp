#include "executors/python/values/ref.h"

#include "executors/python/python.h"
// Python.h first.

#include "executors/python/interpreter/graveyard.h"
#include "executors/python/interpreter/python_thread.h"

namespace unirun::python {
namespace {

std::int64_t current_interpreter() { return PyInterpreterState_GetID(PyInterpreterState_Get()); }

}  // namespace

Ref Ref::steal(PyObject* object) {
  if (object == nullptr) return {};
  auto* const held = new Held{};
  held->object = object;
  held->interpreter_id = current_interpreter();
  return Ref(held);
}

Ref Ref::borrow(PyObject* object) { return steal(Py_XNewRef(object)); }

PyObject* Ref::get() const {
  return held_ != nullptr && held_->interpreter_id == current_interpreter() ? held_->object
                                                                            : nullptr;
}

void Ref::drop(Held* held) noexcept {
  if (PythonThread::attached_state() != nullptr && current_interpreter() == held->interpreter_id) {
    Py_DECREF(held->object);
  } else {
    Graveyard::bury(held->object, held->interpreter_id);
  }
  delete held;
}

}  // namespace unirun::python
