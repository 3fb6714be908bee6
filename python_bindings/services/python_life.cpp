#include "python_bindings/services/python_life.h"
// python_life.h first: it brings Python.h.

#include <chrono>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "framework/service.h"
#include "host/json_text.h"

namespace unirun::bindings {

py::module_ in_process() { return py::module_::import("unirun._in_process"); }

namespace {

// The same object for all lives of a service, of which there may be many.
py::object interned(const std::string& text) {
  PyObject* const object = PyUnicode_InternFromString(text.c_str());
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

}  // namespace

py::object begin_life(const ServiceSpec& spec, ServiceStyle style) {
  static PyObject* const life = py::object(in_process().attr("Life")).release().ptr();
  const auto places = spec.env.find("PYTHONPATH");
  py::object heartbeat = py::none();
  if (const auto* liveness = std::get_if<HeartbeatLiveness>(&spec.liveness)) {
    heartbeat = py::float_(std::chrono::duration<double>(liveness->timeout).count());
  }
  return py::reinterpret_borrow<py::object>(life)(
      interned(std::get<PythonTarget>(spec.target).target),
      spec.arguments.empty() ? std::string() : json_text(spec.arguments),
      places == spec.env.end() ? std::string() : places->second, heartbeat,
      style == ServiceStyle::async, interned(spec.log_level));
}

std::exception_ptr end_of(const py::object& life) {
  const py::error_already_set error;
  const auto [kind, code, type, message, traceback] =
      life.attr("outcome")(error.value())
          .cast<std::tuple<std::string, int, std::string, std::string, std::string>>();
  if (kind == "cancelled") return std::make_exception_ptr(Cancelled());
  if (kind == "declined") return std::make_exception_ptr(Declined());
  ExitReason reason;
  reason.kind = exit_kind_from(kind).value_or(ExitKind::exception);
  if (reason.kind == ExitKind::exit_code) reason.exit_code = code;
  if (!type.empty()) reason.exception = ExceptionText{type, message, traceback};
  return std::make_exception_ptr(ServiceEnded(std::move(reason)));
}

}  // namespace unirun::bindings
