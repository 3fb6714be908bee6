#include "python_bindings/services/python_service.h"
// python_service.h first: it brings Python.h.

#include <chrono>
#include <utility>

#include "host/json_text.h"
#include "python_bindings/services/python_service_factory.h"

namespace unirun::bindings {

Result<std::unique_ptr<Service>> PythonServiceFactory::make(const ServiceSpec& spec,
                                                            ServiceStyle style) {
  const auto* target = std::get_if<PythonTarget>(&spec.target);
  if (target == nullptr) return Error{Errc::start_failed, "target: this is no Python target"};
  PythonLife life;
  life.target = target->target;
  if (!spec.arguments.empty()) life.arguments = json_text(spec.arguments);
  if (const auto path = spec.env.find("PYTHONPATH"); path != spec.env.end()) {
    life.places = path->second;
  }
  if (const auto* heartbeat = std::get_if<HeartbeatLiveness>(&spec.liveness)) {
    life.heartbeat = std::chrono::duration<double>(heartbeat->timeout).count();
  }
  life.on_loop = style == ServiceStyle::async;

  const std::lock_guard lock(imported_->mutex);
  const bool is_imported = imported_->targets.count(life.target) > 0;
  auto remember = [imported = imported_, name = life.target] {
    const std::lock_guard remembering(imported->mutex);
    imported->targets.insert(name);
  };
  return std::unique_ptr<Service>(
      new PythonService(std::move(life), loops_, is_imported, std::move(remember)));
}

PythonServiceFactory& python_services() {
  static auto* const factory = new PythonServiceFactory;
  return *factory;
}

}  // namespace unirun::bindings
