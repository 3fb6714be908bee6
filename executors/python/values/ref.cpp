#include "executors/python/values/ref.h"

#include "executors/python/python.h"
// Python.h first.

#include "executors/python/interpreter/graveyard.h"
#include "executors/python/interpreter/python_thread.h"

namespace unirun::python {

Ref Ref::steal(PyObject* object) {
  if (object == nullptr) return {};
  auto* const held = new Held{};
  held->object = object;
  held->interpreter_id = PythonThread::interpreter_id();
  return Ref(held);
}

Ref Ref::borrow(PyObject* object) { return steal(Py_XNewRef(object)); }

PyObject* Ref::get() const {
  if (held_ == nullptr || held_->interpreter_id != PythonThread::interpreter_id()) return nullptr;
  return held_->object;
}

void Ref::drop(Held* held) noexcept {
  if (PythonThread::interpreter_id() == held->interpreter_id) {
    Py_DECREF(held->object);
  } else {
    Graveyard::bury(held->object, held->interpreter_id);
  }
  delete held;
}

}  // namespace unirun::python
