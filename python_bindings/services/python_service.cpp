#include "python_bindings/services/python_service.h"
// python_service.h first: it brings Python.h.

#include "python_bindings/services/attendant.h"
#include "python_bindings/services/gil.h"

namespace unirun::bindings {
namespace {

// The frames of the service in it, and nothing where it runs no Python.
std::string stack_of(unsigned long thread) {
  try {
    return in_process().attr("stack_of")(thread).cast<std::string>();
  } catch (const py::error_already_set& error) {
    return error.what();
  }
}

}  // namespace

void PythonService::prepare() {
  std::exception_ptr failure;
  {
    const Gil gil;
    const py::object life = life_.begin();
    const py::object prepare = life.attr("prepare");
    begin_strikes();
    PyObject* const done = or_hang([&] { return PyObject_CallNoArgs(prepare.ptr()); });
    end_strikes();
    if (done == nullptr) failure = end_of(life);
    Py_XDECREF(done);
  }
  if (failure) std::rethrow_exception(failure);
  on_imported_();
}

// From here on Cancelled may be raised in this thread's Python code.
void PythonService::begin_strikes() {
  thread_->id = PyThread_get_thread_ident();
  thread_->is_running = true;
}

// Right behind the call, before any other Python code runs: what is still to be raised will not be.
void PythonService::end_strikes() {
  thread_->is_running = false;
  PyThreadState_SetAsyncExc(thread_->id, nullptr);
}

void PythonService::run(ServiceContext& context) {
  std::exception_ptr failure;
  {
    const Gil gil;
    const auto link = std::make_shared<ServiceLink>(context, thread_);
    const py::object life = life_.begin();
    const py::object run = life.attr("run");
    const py::object argument = py::cast(link);
    begin_strikes();
    PyObject* const done = call(run.ptr(), argument.ptr());
    end_strikes();
    if (done == nullptr) failure = end_of(life);
    Py_XDECREF(done);
    link->sever();
  }
  if (failure) std::rethrow_exception(failure);
}

Task<> PythonService::run_async(ServiceContext& context) {
  const auto loop = loops_.of(context.loop());
  if (!loop) {
    throw ServiceEnded(ExitReason::of(ExitKind::start_failed, loop.error().message));
  }
  task_ = PythonTask::begin(*loop, life_, context);
  const Registration stop = context.cancellation().on_cancel([task = task_] { task->cancel(); });
  co_await task_->ended();
  task_->take();  // Severs it.
}

void PythonService::interrupt() {
  if (task_) return task_->interrupt();
  Attendant::of_process().post([thread = thread_] { strike(*thread); });
}

std::string PythonService::stack() const {
  if (task_) return task_->stack();
  auto stack = std::make_shared<std::string>();
  const bool told = Attendant::of_process().run(
      [thread = thread_, stack] {
        if (thread->is_running) *stack = stack_of(thread->id);
      },
      patience_for_a_stack);
  return told ? *stack : no_stack;
}

}  // namespace unirun::bindings
