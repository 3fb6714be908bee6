// The graveyard takes references that were dropped without the GIL, until somebody comes by who
// holds it.
//
// Thread: bury() any; the others with the GIL of the interpreter that they name.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <cstdint>

namespace unirun::python {

class Graveyard {
 public:
  // Gives up one reference to an object of that interpreter. One that has ended took it along.
  static void bury(PyObject* object, std::int64_t interpreter_id) noexcept;

  // Drops what was buried for the interpreter that this thread is attached to.
  static void clear();

  // Whoever is to come by soon, because something lies there; called on any thread. Null: nobody.
  using Bell = void (*)() noexcept;
  static void call(Bell bell);

  // In a child of fork(): what lies there stays, and nobody comes by.
  static void forget();

  // What is left of that interpreter is never dropped: it has ended, or is about to.
  static void close(std::int64_t interpreter_id);
};

}  // namespace unirun::python
