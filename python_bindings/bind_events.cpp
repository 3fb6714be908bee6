#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <nlohmann/json.hpp>

#include "framework/event.h"

namespace unirun::bindings {
namespace {

std::string describe_event(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) raise({Errc::invalid_argument, "this is no JSON: " + text});
  return describe(unwrap(event_from_json(json)));
}

std::vector<std::string_view> event_kinds() {
  return {
#define X(type, word) #word,
      UNIRUN_EVENTS(X)
#undef X
  };
}

}  // namespace

void bind_events(py::module_& module) {
  module.def("describe_event", &describe_event, py::arg("event"));
  module.def("event_kinds", &event_kinds);
}

}  // namespace unirun::bindings
