#include "python_bindings/loop/attached_loop.h"

#include <string>
#include <utility>

#include "framework/require.h"
#include "python_bindings/exception.h"
#include "python_bindings/loop/loop_core.h"

namespace unirun::bindings {
namespace {

// The exception that is set, as an error.
Error error_of_exception() {
  const Reference exception = take_exception();
  const Reference text = Reference::steal(PyObject_Str(exception.get()));
  const char* said = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  Error error{Errc::system, "asyncio cannot be attached to the host's loop: " +
                                std::string(Py_TYPE(exception.get())->tp_name) + ": " +
                                (said != nullptr ? said : "")};
  PyErr_Clear();
  return error;
}

// A new reference to a Python loop that lives on `host`, or nullptr with an exception.
PyObject* make_attached(EventLoop& host) {
  const Reference module = Reference::steal(PyImport_ImportModule("unirun.loop"));
  Reference loop = Reference::steal(
      module ? PyObject_CallMethod(module.get(), "new_event_loop", nullptr) : nullptr);
  if (!loop) return nullptr;
  Turns& turns = *as_loop_core(loop.get()).turns;
  if (!turns.attach(host)) return nullptr;
  if (Reference::steal(PyObject_CallMethod(loop.get(), "_begin_attached", nullptr))) {
    return loop.release();
  }
  turns.detach();
  return nullptr;
}

}  // namespace

Result<std::unique_ptr<AttachedLoop>> AttachedLoop::attach(EventLoop& host) {
  // Kept until detach(): asyncio remembers its running loop in this thread's state of Python.
  const PyGILState_STATE before = PyGILState_Ensure();
  PyObject* loop = make_attached(host);
  if (loop == nullptr) {
    Error error = error_of_exception();
    PyGILState_Release(before);
    return error;
  }
  if (before == PyGILState_UNLOCKED) (void)PyEval_SaveThread();
  return std::unique_ptr<AttachedLoop>(new AttachedLoop(loop));
}

AttachedLoop::~AttachedLoop() {
  UNIRUN_REQUIRE(!attached_);
  const PyGILState_STATE before = PyGILState_Ensure();
  Py_DECREF(loop_);
  PyGILState_Release(before);
}

void AttachedLoop::name_occupants(std::shared_ptr<LoopOccupant> (*occupant_of)(PyObject*)) {
  as_loop_core(loop_).turns->name_occupants(occupant_of);
}

void AttachedLoop::detach(Duration patience) {
  if (!std::exchange(attached_, false)) return;
  const PyGILState_STATE before = PyGILState_Ensure();
  as_loop_core(loop_).turns->detach();
  const double seconds = std::chrono::duration<double>(patience).count();
  if (!Reference::steal(PyObject_CallMethod(loop_, "_end_attached", "d", seconds))) {
    PyErr_WriteUnraisable(loop_);
  }
  PyGILState_Release(PyGILState_LOCKED);  // What attach() kept.
  PyGILState_Release(before);
}

}  // namespace unirun::bindings
