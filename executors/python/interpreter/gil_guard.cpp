#include "executors/python/interpreter/gil_guard.h"

#include "executors/python/contexts/context.h"

namespace unirun::python {

GILGuard::GILGuard(const Context& context) : thread_(PythonThread::current()) {
  PyThreadState* const held = PythonThread::attached_state();
  if (held != nullptr && PyInterpreterState_GetID(held->interp) == context.interpreter_id()) {
    attached_ = true;
    return;
  }
  if (context.interpreter_id() != 0) return;
  if (held != nullptr) outer_ = PyEval_SaveThread();
  attached_ = entered_ = thread_.attach_to_main();
}

}  // namespace unirun::python
