#include "python_bindings/services/python_task.h"
// python_task.h first: it brings Python.h.

#include <utility>

#include "python_bindings/services/attendant.h"
#include "python_bindings/services/gil.h"
#include "python_bindings/services/python_life.h"

namespace unirun::bindings {

struct PythonTask::Objects {
  py::object loop, life, task;
  unsigned long thread = PyThread_get_thread_ident();
};

PythonTask::PythonTask(EventLoop& loop, std::shared_ptr<ServiceLink> link,
                       std::shared_ptr<Objects> objects)
    : loop_(loop), link_(std::move(link)), objects_(std::move(objects)) {}

std::shared_ptr<PythonTask> PythonTask::begin(PyObject* loop, const PythonLife& life,
                                              ServiceContext& context) {
  std::exception_ptr failure;
  {
    const Gil gil;
    auto link = std::make_shared<ServiceLink>(context, nullptr);
    link->sit(context.loop().seat().occupant());
    auto objects = std::make_shared<Objects>();
    objects->loop = py::reinterpret_borrow<py::object>(loop);
    objects->life = life.begin();
    const py::object begin = objects->life.attr("begin");
    PyObject* const task =
        PyObject_CallFunctionObjArgs(begin.ptr(), py::cast(link).ptr(), loop, nullptr);
    if (task != nullptr) {
      objects->task = py::reinterpret_steal<py::object>(task);
      return std::shared_ptr<PythonTask>(
          new PythonTask(context.loop(), std::move(link), std::move(objects)));
    }
    failure = end_of(objects->life);
    link->sever();
  }
  std::rethrow_exception(failure);
}

// Destroyed in the midst of its life, it takes the task along.
PythonTask::~PythonTask() {
  const Gil gil;
  link_->sever();
  cancel();  // Nothing, if it has ended.
  objects_.reset();
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
  Attendant::of_process().post([objects = std::weak_ptr<Objects>(objects_)] {
    const auto held = objects.lock();
    if (!held) return;
    try {
      held->loop.attr("call_soon_threadsafe")(held->task.attr("cancel"));
    } catch (py::error_already_set& error) {  // The loop is closed: the task has ended.
      error.discard_as_unraisable("unirun: the interruption of a task");
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
          *stack = in_process().attr("stack_of_task")(held->task, held->thread).cast<std::string>();
        } catch (py::error_already_set& error) {
          *stack = error.what();
        }
      },
      patience_for_a_stack);
  return told ? *stack : no_stack;
}

}  // namespace unirun::bindings
