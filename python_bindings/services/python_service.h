// PythonService runs a Python target inside this process: on a thread, or as a coroutine on the
// host's loop. What Python knows of it is unirun._in_process.
//
// prepare() imports, __init__ runs where the service runs. What goes wrong before there is
// something to run is start_failed; what leaves the service becomes an ExitReason with its
// traceback. interrupt() raises unirun.Cancelled in the thread of run(), and only while the service
// runs there: what that thread does next cannot be struck.
//
// Thread: as framework/service.h says. No call of the loop's takes the GIL but run_async().

#pragma once

#include "python_bindings/services/python_life.h"
// python_life.h first: it brings Python.h.

#include <csignal>
#include <memory>
#include <string>
#include <variant>

#include "executors/service_spec.h"
#include "framework/service.h"
#include "python_bindings/services/asyncio_loops.h"
#include "python_bindings/services/imports.h"
#include "python_bindings/services/python_task.h"
#include "python_bindings/services/service_link.h"

namespace unirun::bindings {

class PythonService final : public Service {
 public:
  // All outlive the service.
  PythonService(const ServiceSpec& spec, ServiceStyle style, AsyncioLoops& loops, Imports& imports)
      : spec_(spec),
        style_(style),
        loops_(loops),
        imports_(imports),
        thread_(on_loop() ? nullptr : std::make_shared<RunningThread>()),
        signals_(on_loop() ? nullptr : blocked_signals()),
        task_(on_loop() ? std::make_unique<PythonTask>() : nullptr) {}

  [[nodiscard]] bool needs_preparation() const override { return !imports_.has(target()); }
  void prepare() override;
  void run(ServiceContext& context) override;
  Task<> run_async(ServiceContext& context) override;
  // An asyncio task is cancelled; it ends when it has put its things away.
  [[nodiscard]] bool survives_its_coroutine() const override { return true; }
  void interrupt() override;
  [[nodiscard]] std::string stack() const override;

 private:
  static std::unique_ptr<const sigset_t> blocked_signals();

  [[nodiscard]] bool on_loop() const { return style_ == ServiceStyle::async; }
  [[nodiscard]] const std::string& target() const {
    return std::get<PythonTarget>(spec_.target).target;
  }

  const ServiceSpec& spec_;
  const ServiceStyle style_;
  AsyncioLoops& loops_;
  Imports& imports_;
  const std::shared_ptr<RunningThread> thread_;
  const std::unique_ptr<const sigset_t> signals_;
  const std::unique_ptr<PythonTask> task_;  // Of run_async(); null for a thread.
};

}  // namespace unirun::bindings
