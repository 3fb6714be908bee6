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
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "framework/service.h"
#include "python_bindings/services/asyncio_loops.h"
#include "python_bindings/services/python_task.h"
#include "python_bindings/services/service_link.h"

namespace unirun::bindings {

class PythonService final : public Service {
 public:
  // `imported`: the target has been imported before, and there is nothing to prepare.
  PythonService(PythonLife life, AsyncioLoops& loops, bool imported,
                std::function<void()> on_imported)
      : life_(std::move(life)),
        loops_(loops),
        imported_(imported),
        on_imported_(std::move(on_imported)),
        thread_(life_.on_loop ? nullptr : std::make_shared<RunningThread>()),
        signals_(life_.on_loop ? nullptr : blocked_signals()),
        task_(life_.on_loop ? std::make_unique<PythonTask>() : nullptr) {}

  [[nodiscard]] bool needs_preparation() const override { return !imported_; }
  void prepare() override;
  void run(ServiceContext& context) override;
  Task<> run_async(ServiceContext& context) override;
  // An asyncio task is cancelled; it ends when it has put its things away.
  [[nodiscard]] bool survives_its_coroutine() const override { return true; }
  void interrupt() override;
  [[nodiscard]] std::string stack() const override;

 private:
  static std::unique_ptr<const sigset_t> blocked_signals();

  const PythonLife life_;
  AsyncioLoops& loops_;
  const bool imported_;
  const std::function<void()> on_imported_;
  const std::shared_ptr<RunningThread> thread_;
  const std::unique_ptr<const sigset_t> signals_;
  const std::unique_ptr<PythonTask> task_;  // Of run_async(); null for a thread.
};

}  // namespace unirun::bindings
