#include "python_bindings/services/python_life.h"
// python_life.h first: it brings Python.h.

#include <tuple>
#include <utility>

#include "framework/service.h"

namespace unirun::bindings {

py::module_ in_process() { return py::module_::import("unirun._in_process"); }

py::object PythonLife::begin() const {
  return in_process().attr("Life")(target, arguments, places, heartbeat, on_loop);
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
