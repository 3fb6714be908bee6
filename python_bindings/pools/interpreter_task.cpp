#include "python_bindings/pools/interpreter_task.h"

#include <marshal.h>

#include <cstring>
#include <string_view>
#include <utility>

namespace unirun::bindings {
namespace {

constexpr int deepest = 8;
constexpr int marshal_version =
    2;  // Without its table of references, which costs more than it saves.

// Whether a module of the caller's is meant that is another one over there.
bool mentions_main(PyObject* pickled) {
  const std::string_view text(PyBytes_AS_STRING(pickled),
                              static_cast<std::size_t>(PyBytes_GET_SIZE(pickled)));
  return text.find("__main__") != std::string_view::npos;
}

bool are_plain(PyObject* const* objects, Py_ssize_t count) {
  for (Py_ssize_t at = 0; at < count; ++at)
    if (!is_plain(objects[at])) return false;
  return true;
}

Reference tuple_of(PyObject* const* objects, Py_ssize_t count) {
  Reference tuple = Reference::steal(PyTuple_New(count));
  for (Py_ssize_t at = 0; tuple && at < count; ++at)
    PyTuple_SET_ITEM(tuple.get(), at, Py_NewRef(objects[at]));
  return tuple;
}

// None where there are none.
Reference keywords_of(PyObject* const* values, PyObject* names) {
  if (names == nullptr || PyTuple_GET_SIZE(names) == 0) return Reference::borrow(Py_None);
  Reference keywords = Reference::steal(PyDict_New());
  for (Py_ssize_t at = 0; keywords && at < PyTuple_GET_SIZE(names); ++at)
    if (PyDict_SetItem(keywords.get(), PyTuple_GET_ITEM(names, at), values[at]) != 0) return {};
  return keywords;
}

}  // namespace

bool is_plain(PyObject* object, int depth) {
  if (object == Py_None || PyBool_Check(object) || PyLong_CheckExact(object) ||
      PyFloat_CheckExact(object) || PyUnicode_CheckExact(object) || PyBytes_CheckExact(object))
    return true;
  if (!PyTuple_CheckExact(object) || depth == deepest) return false;
  for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(object); ++at)
    if (!is_plain(PyTuple_GET_ITEM(object, at), depth + 1)) return false;
  return true;
}

PyObject* marshalled(PyObject* object) {
  return PyMarshal_WriteObjectToString(object, marshal_version);
}

InterpreterTask* InterpreterTask::make(Future* future, std::size_t function, PyObject* callable,
                                       PyObject* const* arguments, Py_ssize_t count,
                                       PyObject* names, PyObject* dumps) {
  Reference owned = Reference::steal(reinterpret_cast<PyObject*>(future));
  const bool in_table = function != not_in_table;
  Reference frame;
  Reference positional;
  Reference keywords;
  Carriage carriage = Carriage::standard;
  if (in_table && names == nullptr && are_plain(arguments, count)) {
    carriage = Carriage::plain;
    const Reference values = tuple_of(arguments, count);
    frame = values ? Reference::steal(marshalled(values.get())) : Reference();
    if (!frame) return nullptr;
  } else {
    positional = tuple_of(arguments, count);
    keywords = positional ? keywords_of(arguments + count, names) : Reference();
    if (!keywords) return nullptr;
    if (in_table) {
      frame = Reference::steal(
          PyObject_CallFunction(dumps, "(OO)i", positional.get(), keywords.get(), 5));
      if (!frame && PyErr_ExceptionMatches(PyExc_Exception) == 0) return nullptr;
      PyErr_Clear();  // The standard machinery finds a way, or says what is wrong.
      if (frame && PyBytes_CheckExact(frame.get()) && !mentions_main(frame.get()))
        carriage = Carriage::pickled;
      else
        frame = Reference();
    }
  }
  auto* const task = static_cast<InterpreterTask*>(PyMem_RawCalloc(1, sizeof(InterpreterTask)));
  if (task == nullptr) {
    PyErr_NoMemory();
    return nullptr;
  }
  task->future = reinterpret_cast<Future*>(owned.release());
  task->function = function;
  task->carriage = carriage;
  task->wants_result = true;
  task->frame = frame.release();
  task->callable = carriage == Carriage::plain ? nullptr : Py_NewRef(callable);
  task->arguments = positional.release();
  task->keywords = keywords.release();
  return task;
}

void InterpreterTask::destroy(InterpreterTask* task) {
  Py_XDECREF(task->frame);
  Py_XDECREF(task->callable);
  Py_XDECREF(task->arguments);
  Py_XDECREF(task->keywords);
  Py_XDECREF(task->returned);
  Py_XDECREF(task->raised);
  Py_XDECREF(reinterpret_cast<PyObject*>(task->future));
  PyMem_RawFree(task->outcome);
  PyMem_RawFree(task);
}

bool InterpreterTask::unpack(PyObject* function_object) {
  if (callable != nullptr) return true;
  const Reference values = Reference::steal(
      PyMarshal_ReadObjectFromString(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame)));
  if (!values) return false;
  arguments = Py_NewRef(values.get());
  keywords = Py_NewRef(Py_None);
  callable = Py_NewRef(function_object);
  return true;
}

bool InterpreterTask::set_outcome(Ending how, PyObject* bytes) {
  const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(bytes));
  outcome = static_cast<char*>(PyMem_RawMalloc(size));
  if (outcome == nullptr) return false;
  std::memcpy(outcome, PyBytes_AS_STRING(bytes), size);
  outcome_size = size;
  ending = how;
  return true;
}

void InterpreterTasks::push(InterpreterTask* task) {
  task->next = nullptr;
  (last_ == nullptr ? first_ : last_->next) = task;
  last_ = task;
  length_.store(size() + 1, std::memory_order_seq_cst);
}

InterpreterTask* InterpreterTasks::pop() {
  InterpreterTask* const task = first_;
  if (task == nullptr) return nullptr;
  first_ = task->next;
  if (first_ == nullptr) last_ = nullptr;
  length_.store(size() - 1, std::memory_order_relaxed);
  return task;
}

bool InterpreterTasks::remove(const InterpreterTask* task) {
  InterpreterTask* before = nullptr;
  for (InterpreterTask** at = &first_; *at != nullptr; before = *at, at = &before->next) {
    if (*at != task) continue;
    *at = task->next;
    if (last_ == task) last_ = before;
    length_.store(size() - 1, std::memory_order_relaxed);
    return true;
  }
  return false;
}

}  // namespace unirun::bindings
