// The first include of every file here: it brings Python.h, which insists on being first.

#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "framework/result.h"
#include "host/config/config_fault.h"

namespace unirun::bindings {

namespace py = pybind11;

// An Error becomes a Python exception here and nowhere else: the class of unirun.errors that
// belongs to its code. REQUIRES: the GIL.
[[noreturn]] void raise(const Error& error);
[[noreturn]] void raise(const std::vector<ConfigFault>& faults, const std::string& origin);

inline void unwrap(const Status& status) {
  if (!status) raise(status.error());
}
template <class T>
T unwrap(Result<T> result) {
  if (!result) raise(result.error());
  return std::move(result).value();
}

void bind_events(py::module_& module);
void bind_host(py::module_& module);
void bind_loop(py::module_& module);
void bind_services(py::module_& module);

}  // namespace unirun::bindings
