// PythonServiceFactory makes services of Python targets in the interpreter that this process has.
//
// Thread: the loop's; it takes no GIL, except in leave(). Lives as long as the process.

#pragma once

#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <memory>

#include "executors/service_factory.h"
#include "python_bindings/services/asyncio_loops.h"
#include "python_bindings/services/imports.h"

namespace unirun::bindings {

class PythonServiceFactory final : public ServiceFactory {
 public:
  [[nodiscard]] Result<std::unique_ptr<Service>> make(const ServiceSpec& spec,
                                                      ServiceStyle style) override;
  void leave(EventLoop& loop) override { loops_.leave(loop); }

 private:
  AsyncioLoops loops_;
  Imports imports_;
};

// The one of this interpreter; lives as long as the process.
[[nodiscard]] PythonServiceFactory& python_services();

}  // namespace unirun::bindings
