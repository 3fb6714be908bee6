#include "python_bindings/services/python_service.h"
// python_service.h first: it brings Python.h.

#include <variant>

#include "python_bindings/services/python_service_factory.h"

namespace unirun::bindings {

Result<std::unique_ptr<Service>> PythonServiceFactory::make(const ServiceSpec& spec,
                                                            ServiceStyle style) {
  if (!std::holds_alternative<PythonTarget>(spec.target)) {
    return Error{Errc::start_failed, "target: this is no Python target"};
  }
  return std::unique_ptr<Service>(new PythonService(spec, style, loops_, imports_));
}

PythonServiceFactory& python_services() {
  static auto* const factory = new PythonServiceFactory;
  return *factory;
}

}  // namespace unirun::bindings
