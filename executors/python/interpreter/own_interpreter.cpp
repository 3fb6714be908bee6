#include "executors/python/interpreter/own_interpreter.h"

#include <fmt/format.h>

#include <utility>

#include "executors/python/callbacks/native_module.h"
#include "executors/python/interpreter/graveyard.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/interpreter/python_thread.h"
#include "executors/python/tasks/or_hang.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

#if PY_VERSION_HEX >= 0x030c0000
// Makes one; its state is this thread's then. Null: `error` says why, and all is as before.
PyThreadState* make_interpreter(std::string& error) {
  const PyInterpreterConfig config{.use_main_obmalloc = 0,
                                   .allow_fork = 0,
                                   .allow_exec = 0,
                                   .allow_threads = 1,
                                   .allow_daemon_threads = 0,
                                   .check_multi_interp_extensions = 1,
                                   .gil = PyInterpreterConfig_OWN_GIL};
  PyThreadState* state = nullptr;
  const PyStatus status = Py_NewInterpreterFromConfig(&state, &config);
  if (PyStatus_Exception(status) == 0) return state;
  error = status.err_msg != nullptr ? status.err_msg : "it could not be made";
  return nullptr;
}
#else
PyThreadState* make_interpreter(std::string& error) {
  error = "Python has them from 3.12 on";
  return nullptr;
}
#endif

}  // namespace

// With its GIL.
Result<void> OwnInterpreter::equip(const OwnInterpreterOptions& options) {
  const auto paths = to_python(Value(options.sys_path));
  if (!paths) return paths.error();
  if (PySys_SetObject("path", paths->get()) != 0) return error_of_exception();
  if (!Interpreter::set_switch_interval(options.switch_interval)) return error_of_exception();
  if (auto installed = install_native_module(); !installed.ok()) return installed;
  return Interpreter::import_all(options.preload);
}

Result<std::unique_ptr<OwnInterpreter>> OwnInterpreter::start(
    const OwnInterpreterOptions& options) {
  PythonThread& thread = PythonThread::current();
  if (!thread.attach())
    return Error{.code = Errc::finalized, .message = "Python does not run, or is ending"};
  std::string why;
  PyThreadState* const state = make_interpreter(why);
  if (state == nullptr) {
    thread.leave();
    return Error{.code = Errc::unsupported,
                 .message = fmt::format("no interpreter with a GIL of its own: {}", why)};
  }
  std::unique_ptr<OwnInterpreter> made(new OwnInterpreter(state));
  const auto equipped = equip(options);
  thread.settle_in(state);
  thread.leave();
  if (equipped.ok()) return made;
  made->end();
  return equipped.error();
}

OwnInterpreter::OwnInterpreter(PyThreadState* state)
    : state_(state), id_(PyInterpreterState_GetID(PyThreadState_GetInterpreter(state))) {}

void OwnInterpreter::end() {
  closing_.store(true);
  static_cast<void>(left_.wait(Duration::max(), [this] { return visits_.load() == 0; }));
  PythonThread& thread = PythonThread::current();
  if (!thread.attach()) return;  // Python has ended, and this with it.
  Graveyard::clear();
  Graveyard::close(id_);
  Py_EndInterpreter(state_);
  thread.settle_in(nullptr);
  thread.leave_ended();
}

// The order counts, here against the end: each first says what it does and then looks at the other.
bool OwnInterpreter::enter() {
  visits_.fetch_add(1);
  if (!closing_.load()) return true;
  leave();
  return false;
}

void OwnInterpreter::leave() {
  visits_.fetch_sub(1);
  left_.ring();
}

OwnInterpreter::Visit::Visit(OwnInterpreter& interpreter) : interpreter_(interpreter) {
  if (!interpreter_.enter()) return;
  if (PythonThread::attached_state() != nullptr) outer_ = PyEval_SaveThread();
  state_ = PyThreadState_New(PyThreadState_GetInterpreter(interpreter_.state_));
  or_hang([this] { PyEval_RestoreThread(state_); });
}

OwnInterpreter::Visit::~Visit() {
  if (state_ == nullptr) return;
  PyThreadState_Clear(state_);
  PyThreadState_DeleteCurrent();
  interpreter_.leave();
  if (outer_ != nullptr) or_hang([this] { PyEval_RestoreThread(outer_); });
}

}  // namespace unirun::python
