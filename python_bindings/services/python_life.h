// PythonLife is what one life of a Python service needs of its spec, and the Python object that
// leads it: unirun._in_process.Life.
//
// Thread: any with the GIL.

#pragma once

#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <exception>
#include <string>

#include "framework/time.h"

namespace unirun::bindings {

struct PythonLife {
  std::string target;
  std::string arguments;  // As JSON; empty for none.
  std::string places;     // Of modules: what PYTHONPATH holds.
  double heartbeat = 0;   // Seconds between two that are asked for; 0: none is.
  bool on_loop = false;

  [[nodiscard]] py::object begin() const;
};

[[nodiscard]] py::module_ in_process();

// How the exception that is set says that a life ended, as Service::run() throws it. The exception
// is gone afterwards. REQUIRES: no exception can be raised in this thread from outside any more.
[[nodiscard]] std::exception_ptr end_of(const py::object& life);

// For a look at a stack: whoever holds the GIL that long does so in native code.
inline constexpr Duration patience_for_a_stack = std::chrono::seconds{1};
inline constexpr const char* no_stack =
    "some thread holds Python's GIL in native code, and no stack can be had";

}  // namespace unirun::bindings
