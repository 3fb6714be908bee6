#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <nlohmann/json.hpp>

#include "host/json_text.h"

namespace unirun::bindings {
namespace {

[[noreturn]] void raise(const Error& error, const nlohmann::json& faults) {
  const py::object exception =
      py::module_::import("unirun.errors")
          .attr("error_from")(to_string(error.code), error.message,
                              py::module_::import("json").attr("loads")(json_text(faults)));
  PyErr_SetObject(py::type::of(exception).ptr(), exception.ptr());
  throw py::error_already_set();
}

}  // namespace

void raise(const Error& error) { raise(error, nlohmann::json::array()); }

void raise(const std::vector<ConfigFault>& faults, const std::string& origin) {
  raise(Error{Errc::invalid_configuration, describe(faults, origin)}, to_json(faults));
}

}  // namespace unirun::bindings
