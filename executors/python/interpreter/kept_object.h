// kept_object() is what an interpreter keeps under a name, made when it is first asked for.
//
// Thread: with the GIL of the interpreter.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// Borrowed; it is there as long as the interpreter. `make` gives the object, or nothing. Null: an
// exception is set.
template <class Make>
[[nodiscard]] PyObject* kept_object(const char* name, Make make) {
  PyObject* const kept = PyInterpreterState_GetDict(PyInterpreterState_Get());
  if (kept == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "this interpreter keeps nothing: it is ending");
    return nullptr;
  }
  if (PyObject* const found = PyDict_GetItemString(kept, name); found != nullptr) return found;
  const Reference key = Reference::steal(PyUnicode_FromString(name));
  const Reference made = key ? make() : Reference();
  // Who was faster stays: others have it in their hands.
  return made ? PyDict_SetDefault(kept, key.get(), made.get()) : nullptr;
}

}  // namespace unirun::python
