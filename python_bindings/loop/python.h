// The first include of every file here: Python's C API, and one owner for references. Handles and
// turns are the hottest paths of asyncio, so that pybind11 has no place in them.

#pragma once

#include <Python.h>

#include <utility>

namespace unirun::bindings {

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

}  // namespace unirun::bindings
