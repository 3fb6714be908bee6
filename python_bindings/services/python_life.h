// One life of a Python service, as Python leads it: unirun._in_process.Life.
//
// Thread: any with the GIL.

#pragma once

#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <exception>

#include "executors/service_spec.h"
#include "framework/time.h"

namespace unirun::bindings {

// REQUIRES: `spec` has a Python target.
[[nodiscard]] py::object begin_life(const ServiceSpec& spec, ServiceStyle style);

[[nodiscard]] py::module_ in_process();

// How the exception that is set says that a life ended, as Service::run() throws it. The exception
// is gone afterwards. REQUIRES: no exception can be raised in this thread from outside any more.
[[nodiscard]] std::exception_ptr end_of(const py::object& life);

// For a look at a stack: whoever holds the GIL that long does so in native code.
inline constexpr Duration patience_for_a_stack = std::chrono::seconds{1};
inline constexpr const char* no_stack =
    "some thread holds Python's GIL in native code, and no stack can be had";

}  // namespace unirun::bindings
