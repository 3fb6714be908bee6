// Task: a call that waits to be made, and the queue of them. One piece of memory holds the call and
// its arguments, as they came from the interpreter: no tuple, no dict.
//
// Thread: with the GIL; the queue with its engine's lock.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <cstddef>
#include <cstdint>
#include <new>

#include "framework/time.h"
#include "python_bindings/pools/promise.h"

namespace unirun::bindings {

struct Task {
  Task* next;
  Promise promise;
  PyObject* callable;
  PyObject* names;         // Of the last arguments, or null.
  Instant queued_at;       // The epoch: this one is not timed.
  Py_ssize_t count;        // Of positional arguments.
  PyObject* scratch;       // The callee's, as PY_VECTORCALL_ARGUMENTS_OFFSET allows.
  PyObject* arguments[1];  // NOLINT(modernize-avoid-c-arrays): as many as there are.

  [[nodiscard]] Py_ssize_t total() const {
    return count + (names == nullptr ? 0 : PyTuple_GET_SIZE(names));
  }
  [[nodiscard]] bool is_timed() const { return queued_at != Instant{}; }

  // New references; the promise is taken over. Null: an exception is set.
  static Task* make(Promise promise, PyObject* callable, PyObject* const* arguments,
                    Py_ssize_t count, PyObject* names) {
    const Py_ssize_t total = count + (names == nullptr ? 0 : PyTuple_GET_SIZE(names));
    void* const memory =
        PyMem_Malloc(sizeof(Task) + static_cast<std::size_t>(total) * sizeof(PyObject*));
    if (memory == nullptr) {
      promise.drop();
      PyErr_NoMemory();
      return nullptr;
    }
    auto* const task = new (memory) Task{};
    task->promise = promise;
    task->callable = Py_NewRef(callable);
    task->names = Py_XNewRef(names);
    task->count = count;
    for (Py_ssize_t at = 0; at < total; ++at) task->arguments[at] = Py_NewRef(arguments[at]);
    return task;
  }

  static void destroy(Task* task) {
    const Py_ssize_t total = task->total();
    for (Py_ssize_t at = 0; at < total; ++at) Py_DECREF(task->arguments[at]);
    Py_XDECREF(task->names);
    Py_DECREF(task->callable);
    task->promise.drop();
    PyMem_Free(task);
  }

  // Makes the call. Null: it raised.
  [[nodiscard]] PyObject* call() {
    const auto flags = static_cast<std::size_t>(count) | PY_VECTORCALL_ARGUMENTS_OFFSET;
    return PyObject_Vectorcall(callable, arguments, flags, names);
  }

  int traverse(visitproc visit, void* arg) const {
    const int seen = promise.traverse(visit, arg);
    if (seen != 0) return seen;
    Py_VISIT(callable);
    for (Py_ssize_t at = 0; at < total(); ++at) Py_VISIT(arguments[at]);
    return 0;
  }
};

// First in, first out.
class TaskQueue {
 public:
  void push(Task* task) {
    (last_ == nullptr ? first_ : last_->next) = task;
    last_ = task;
    ++length_;
  }
  [[nodiscard]] Task* pop() {
    Task* const task = first_;
    if (task == nullptr) return nullptr;
    first_ = task->next;
    if (first_ == nullptr) last_ = nullptr;
    task->next = nullptr;
    --length_;
    return task;
  }
  // Takes this one out, wherever it stands. False: it is not here.
  bool remove(const Task* task) {
    for (Task **at = &first_, *before = nullptr; *at != nullptr; before = *at, at = &before->next) {
      if (*at != task) continue;
      *at = task->next;
      if (last_ == task) last_ = before;
      --length_;
      return true;
    }
    return false;
  }
  [[nodiscard]] bool is_empty() const { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return length_; }
  [[nodiscard]] const Task* first() const { return first_; }

 private:
  Task* first_ = nullptr;
  Task* last_ = nullptr;
  std::size_t length_ = 0;
};

}  // namespace unirun::bindings
