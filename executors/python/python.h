// The first include of every file that speaks Python's C API. One owner for references.

#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
// Python.h first.

#include <string_view>
#include <utility>

namespace unirun::python {

// Owns one reference, or nothing. Thread: with the GIL.
class Reference {
 public:
  Reference() = default;
  static Reference steal(PyObject* object) { return Reference(object); }
  static Reference borrow(PyObject* object) { return Reference(Py_XNewRef(object)); }
  Reference(Reference&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Reference& operator=(Reference&& other) noexcept {
    PyObject* dropped = std::exchange(object_, std::exchange(other.object_, nullptr));
    Py_XDECREF(dropped);
    return *this;
  }
  ~Reference() { Py_XDECREF(object_); }

  [[nodiscard]] PyObject* get() const { return object_; }
  [[nodiscard]] PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  explicit Reference(PyObject* object) : object_(object) {}
  PyObject* object_ = nullptr;
};

// The one string of this text that names are compared with. Null: an exception is set.
[[nodiscard]] inline Reference interned(std::string_view text) {
  PyObject* string = PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
  if (string != nullptr) PyUnicode_InternInPlace(&string);
  return Reference::steal(string);
}

// For tables of slots and of methods, which know one type of function.
template <class Function>
void* slot(Function function) {
  return reinterpret_cast<void*>(function);
}
template <class Function>
PyCFunction method(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// Holds an object's own lock where there is no GIL; where there is one, it is the lock. Python code
// that runs meanwhile may let others in.
class ObjectLock {
 public:
#ifdef Py_GIL_DISABLED
  explicit ObjectLock(PyObject* object) { PyCriticalSection_Begin(&section_, object); }
  ~ObjectLock() { PyCriticalSection_End(&section_); }
#else
  explicit ObjectLock(PyObject* /*object*/) {}
  ~ObjectLock() {
  }  // NOLINT(modernize-use-equals-default): a trivial one would be an unused variable.
#endif
  ObjectLock(const ObjectLock&) = delete;
  ObjectLock& operator=(const ObjectLock&) = delete;

 private:
#ifdef Py_GIL_DISABLED
  PyCriticalSection section_{};
#endif
};

}  // namespace unirun::python
