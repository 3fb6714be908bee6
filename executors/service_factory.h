// ServiceFactory makes the Service that a spec names, for executors that run it inside this
// process. The registry of native services is one (NativeTarget); python_bindings/ gives the host
// another (PythonTarget).
//
// Thread: the loop's. Quick: what takes time is left to Service::prepare().

#pragma once

#include <memory>

#include "executors/service_spec.h"
#include "framework/result.h"
#include "framework/service.h"

namespace unirun {

class EventLoop;

class ServiceFactory {
 public:
  virtual ~ServiceFactory() = default;

  // `spec` outlives the service. Errors: no service of this name (with the nearest known one), a
  // shared object that does not load.
  [[nodiscard]] virtual Result<std::unique_ptr<Service>> make(const ServiceSpec& spec,
                                                              ServiceStyle style) = 0;

  // `loop`, on which services of this factory have run, has returned from run() for the last time:
  // what the factory keeps there has to go. On the thread that ran it.
  virtual void leave(EventLoop& /*loop*/) {}
};

}  // namespace unirun
