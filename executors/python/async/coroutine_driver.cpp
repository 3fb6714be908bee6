#include "executors/python/async/coroutine_driver.h"

#include <array>

#include "executors/python/async/coroutine_loop.h"
#include "executors/python/async/coroutine_task.h"
#include "executors/python/values/exception.h"

namespace unirun::python {
namespace {

CoroutineDriver& driver_of(PyObject* self) { return *reinterpret_cast<CoroutineDriver*>(self); }

// The coroutine has returned `value`, or raised (null). A cancellation alone is asyncio's affair.
PySendResult end_of(CoroutineDriver& driver, PyObject* value, PyObject** result) {
  CoroutineTask* const task = std::exchange(driver.task, nullptr);
  *result =
      driver.loop->end(*task, value) == CoroutineEnd::cancelled ? nullptr : Py_NewRef(Py_None);
  return *result != nullptr ? PYGEN_RETURN : PYGEN_ERROR;
}

bool refuse_second_use(const CoroutineDriver& driver) {
  if (driver.task != nullptr) return false;
  PyErr_SetString(PyExc_RuntimeError,
                  "its task has ended, or went on after it was cancelled and was given up");
  return true;
}

PySendResult send_into(PyObject* self, PyObject* sent, PyObject** result) {
  CoroutineDriver& driver = driver_of(self);
  if (refuse_second_use(driver)) {
    *result = nullptr;
    return PYGEN_ERROR;
  }
  PyObject* given = nullptr;
  PySendResult sent_back = PYGEN_ERROR;
  {
    const CoroutineLoop::Step step(*driver.loop, *driver.task);
    sent_back = PyIter_Send(driver.coroutine, sent, &given);
  }
  if (sent_back == PYGEN_NEXT) {
    *result = given;
    return PYGEN_NEXT;
  }
  const Reference value = Reference::steal(sent_back == PYGEN_RETURN ? given : nullptr);
  return end_of(driver, value.get(), result);
}

// As generators have it: what a coroutine returns is raised in StopIteration.
PyObject* as_iterator_does(PySendResult sent_back, PyObject* given) {
  if (sent_back != PYGEN_RETURN) return given;
  PyErr_SetObject(PyExc_StopIteration, given);
  Py_DECREF(given);
  return nullptr;
}

PyObject* send(PyObject* self, PyObject* sent) {
  PyObject* given = nullptr;
  const PySendResult sent_back = send_into(self, sent, &given);
  return as_iterator_does(sent_back, given);
}

PyObject* next(PyObject* self) { return send(self, Py_None); }

// The value of the StopIteration that is set, which this takes off the thread; null: another
// exception is set, and stays.
Reference value_of_stop_iteration() {
  if (PyErr_ExceptionMatches(PyExc_StopIteration) == 0) return {};
  const Reference stop = take_exception();
  return Reference::steal(PyObject_GetAttrString(stop.get(), "value"));
}

PyObject* throw_into(PyObject* self, PyObject* arguments) {
  CoroutineDriver& driver = driver_of(self);
  if (refuse_second_use(driver)) return nullptr;
  const Reference method = Reference::steal(PyObject_GetAttrString(driver.coroutine, "throw"));
  if (!method) return nullptr;
  PyObject* given = nullptr;
  {
    const CoroutineLoop::Step step(*driver.loop, *driver.task);
    given = PyObject_CallObject(method.get(), arguments);
  }
  if (given != nullptr) return given;
  const Reference value = value_of_stop_iteration();
  PyObject* result = nullptr;
  const PySendResult ended = end_of(driver, value.get(), &result);
  return as_iterator_does(ended, result);
}

PyObject* close(PyObject* self, PyObject* /*nothing*/) {
  CoroutineDriver& driver = driver_of(self);
  const Reference closed =
      Reference::steal(PyObject_CallMethod(driver.coroutine, "close", nullptr));
  if (!closed) return nullptr;
  Py_RETURN_NONE;
}

PyObject* itself(PyObject* self) { return Py_NewRef(self); }
PyObject* await(PyObject* self, PyObject* /*nothing*/) { return Py_NewRef(self); }

// __qualname__, cr_frame, cr_code and whatever else debuggers ask for.
PyObject* get_driver_attribute(PyObject* self, PyObject* name) {
  PyObject* const own = PyObject_GenericGetAttr(self, name);
  if (own != nullptr || PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return own;
  PyErr_Clear();
  return PyObject_GetAttr(driver_of(self).coroutine, name);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(driver_of(self).coroutine);
  return 0;
}

int clear(PyObject* self) {
  Py_CLEAR(driver_of(self).coroutine);
  return 0;
}

void dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

std::array<PyMethodDef, 5> driver_methods{{
    {"send", send, METH_O, nullptr},
    {"throw", throw_into, METH_VARARGS, nullptr},
    {"close", close, METH_NOARGS, nullptr},
    {"__await__", await, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
}};

std::array<PyType_Slot, 10> driver_slots{{
    {Py_tp_dealloc, slot(dealloc)},
    {Py_tp_traverse, slot(traverse)},
    {Py_tp_clear, slot(clear)},
    {Py_tp_getattro, slot(get_driver_attribute)},
    {Py_tp_methods, driver_methods.data()},
    {Py_tp_iter, slot(itself)},
    {Py_tp_iternext, slot(next)},
    {Py_am_await, slot(itself)},
    {Py_am_send, slot(send_into)},
    {0, nullptr},
}};

PyType_Spec spec{"unirun.CoroutineDriver", sizeof(CoroutineDriver), 0,
                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                 driver_slots.data()};

// What can be sent to: a coroutine itself, else what its __await__ gives.
Reference sendable(PyObject* awaitable) {
  if (PyCoro_CheckExact(awaitable)) return Reference::borrow(awaitable);
  const PyAsyncMethods* const async = Py_TYPE(awaitable)->tp_as_async;
  if (async != nullptr && async->am_await != nullptr)
    return Reference::steal(async->am_await(awaitable));
  PyErr_Format(PyExc_TypeError, "a coroutine function returned '%s', which cannot be awaited",
               Py_TYPE(awaitable)->tp_name);
  return {};
}

}  // namespace

Reference make_driver_type() { return Reference::steal(PyType_FromSpec(&spec)); }

Reference drive(PyObject* driver_type, PyObject* awaitable, CoroutineLoop& loop,
                CoroutineTask& task) {
  Reference coroutine = sendable(awaitable);
  if (!coroutine) return {};
  auto* const driver =
      PyObject_GC_New(CoroutineDriver, reinterpret_cast<PyTypeObject*>(driver_type));
  if (driver == nullptr) return {};
  driver->coroutine = coroutine.release();
  driver->loop = &loop;
  driver->task = &task;
  auto* const object = reinterpret_cast<PyObject*>(driver);
  PyObject_GC_Track(object);
  return Reference::steal(object);
}

}  // namespace unirun::python
