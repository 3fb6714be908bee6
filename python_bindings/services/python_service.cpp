#include "python_bindings/services/python_service.h"
// python_service.h first: it brings Python.h.

#include <utility>

#include "python_bindings/gil.h"
#include "python_bindings/services/attendant.h"

namespace unirun::bindings {

void PythonService::prepare() {
  std::exception_ptr failure;
  {
    const Gil gil;
    const py::object life = begin_life(spec_, style_);
    const py::object prepare = life.attr("prepare");
    if (thread_) thread_->enter();
    PyObject* const done = or_hang([&] { return PyObject_CallNoArgs(prepare.ptr()); });
    if (thread_) thread_->leave();
    if (done == nullptr) failure = end_of(life);
    Py_XDECREF(done);
  }
  if (failure) std::rethrow_exception(failure);
  imports_.add(target());
}

std::unique_ptr<const sigset_t> PythonService::blocked_signals() {
  auto signals = std::make_unique<sigset_t>();
  ::pthread_sigmask(SIG_SETMASK, nullptr, signals.get());
  return signals;
}

// As the loop's thread blocks signals, and no more: the processes that a service starts inherit
// what its thread blocks, and are to hear a SIGTERM. Python's handlers run in its main thread
// anyway.
void PythonService::run(ServiceContext& context) {
  ::pthread_sigmask(SIG_SETMASK, signals_.get(), nullptr);
  std::exception_ptr failure;
  {
    const Gil gil;
    const auto link = std::make_shared<ServiceLink>(context, thread_);
    thread_->serve(link);
    const py::object life = begin_life(spec_, style_);
    const py::object run = life.attr("run");
    const py::object argument = py::cast(link);
    thread_->enter();
    PyObject* const done = call(run.ptr(), argument.ptr());
    thread_->leave();
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
  task_->begin(*loop, spec_, context);
  const Registration stop = context.cancellation().on_cancel([this] { task_->cancel(); });
  co_await task_->ended();
  task_->take();
}

void PythonService::interrupt() {
  if (task_) return task_->interrupt();
  Attendant::of_process().post_until([thread = thread_, is_told = false]() mutable {
    if (!std::exchange(is_told, true)) thread->tell_interrupted();
    return thread->strike();
  });
}

std::string PythonService::stack() const {
  if (task_) return task_->stack();
  auto stack = std::make_shared<std::string>();
  const bool told = Attendant::of_process().run(
      [thread = thread_, stack] {
        try {
          *stack = thread->stack();
        } catch (const std::exception& error) {
          *stack = error.what();
        }
      },
      patience_for_a_stack);
  return told ? *stack : no_stack;
}

}  // namespace unirun::bindings
