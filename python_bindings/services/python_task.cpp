#include "python_bindings/services/python_task.h"
// python_task.h first: it brings Python.h.

#include <utility>

#include "python_bindings/gil.h"
#include "python_bindings/loop/loop_core.h"
#include "python_bindings/services/attendant.h"
#include "python_bindings/services/python_life.h"

namespace unirun::bindings {

struct PythonTask::Objects {
  py::object loop, life, task;
  std::shared_ptr<ServiceLink> link;
  RunningThread beginning;

  // False: not just now, but a moment later.
  [[nodiscard]] bool interrupt() const;
  [[nodiscard]] std::string stack() const;

 private:
  // Does its code run on the loop, in the call that the loop makes right now?
  [[nodiscard]] bool keeps_loop() const { return turns().works_for(link->occupant().get()); }
  [[nodiscard]] Turns& turns() const { return *as_loop_core(loop.ptr()).turns; }
};

bool PythonTask::Objects::interrupt() const {
  if (beginning.is_inside()) return beginning.strike();
  if (!task) return true;
  const py::object cancelled = py::module_::import("asyncio").attr("CancelledError");
  if (keeps_loop() && !turns().strike(cancelled.ptr())) return false;
  loop.attr("call_soon_threadsafe")(task.attr("cancel"));
  return true;
}

std::string PythonTask::Objects::stack() const {
  if (beginning.is_inside()) return beginning.stack();
  if (!task) return {};
  py::object thread = py::none();
  if (keeps_loop()) thread = loop.attr("_thread_id");
  return in_process().attr("stack_of_task")(task, thread).cast<std::string>();
}

PythonTask::PythonTask() : objects_(std::make_shared<Objects>()) {}

void PythonTask::begin(PyObject* loop, const ServiceSpec& spec, ServiceContext& context) {
  loop_ = &context.loop();
  std::exception_ptr failure;
  {
    const Gil gil;
    link_ = std::make_shared<ServiceLink>(context, nullptr);
    link_->sit(context.loop().seat().occupant());
    objects_->link = link_;
    objects_->loop = py::reinterpret_borrow<py::object>(loop);
    objects_->life = begin_life(spec, ServiceStyle::async);
    const py::object begin = objects_->life.attr("begin");
    const py::object link = py::cast(link_);
    objects_->beginning.enter();
    PyObject* const task = or_hang(
        [&] { return PyObject_CallFunctionObjArgs(begin.ptr(), link.ptr(), loop, nullptr); });
    objects_->beginning.leave();
    objects_->task = py::reinterpret_steal<py::object>(task);
    if (task != nullptr) return;
    failure = end_of(objects_->life);
    link_->sever();
  }
  std::rethrow_exception(failure);
}

// Destroyed in the midst of its life, it takes the task along.
PythonTask::~PythonTask() {
  if (!link_) return;
  const Gil gil;
  link_->sever();
  if (objects_->task) cancel();  // Nothing, if it has ended.
  *objects_ = Objects();
}

void PythonTask::cancel() {
  const Gil gil;
  try {
    objects_->task.attr("cancel")();
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("unirun: the cancellation of a task");
  }
}

void PythonTask::take() {
  std::exception_ptr failure;
  {
    const Gil gil;
    const py::object finish = objects_->life.attr("finish");
    PyObject* const done = call(finish.ptr(), objects_->task.ptr());
    if (done == nullptr) failure = end_of(objects_->life);
    Py_XDECREF(done);
    link_->sever();
  }
  if (failure) std::rethrow_exception(failure);
}

void PythonTask::interrupt() {
  Attendant::of_process().post_until(
      [objects = std::weak_ptr<Objects>(objects_), is_told = false]() mutable {
        const auto held = objects.lock();
        if (!held) return true;
        try {
          if (held->link && !std::exchange(is_told, true)) held->link->tell_interrupted();
          return held->interrupt();
        } catch (py::error_already_set& error) {  // The loop is closed: the task has ended.
          error.discard_as_unraisable("unirun: the interruption of a task");
          return true;
        }
      });
}

std::string PythonTask::stack() const {
  auto stack = std::make_shared<std::string>();
  const bool told = Attendant::of_process().run(
      [objects = std::weak_ptr<Objects>(objects_), stack] {
        const auto held = objects.lock();
        if (!held) return;
        try {
          *stack = held->stack();
        } catch (const std::exception& error) {
          *stack = error.what();
        }
      },
      patience_for_a_stack);
  return told ? *stack : no_stack;
}

}  // namespace unirun::bindings
