// Executor: where a service lives. One contract for processes, threads and coroutines: launch()
// makes one run; its observer hears on_ready() at most once and on_exited() exactly once, unless
// launch() itself already said how it ended. Supervisors time everything: start, stop, kill and
// backoff.
//
// Thread: the loop's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "executors/service_spec.h"
#include "framework/exit_reason.h"
#include "framework/run_id.h"

namespace unirun {

struct Launch {
  RunId run{};
  std::string path;                  // "pipeline/ingest-2": for marks, log files and thread names.
  std::string id;                    // "ingest-2"
  std::optional<unsigned> instance;  // 2, of a service with `instances`.
  std::shared_ptr<const ServiceSpec> service;
  ServiceStyle style = ServiceStyle::blocking;  // Between executors; supervisors leave it alone.
};

struct LaunchOutcome {
  enum class State : std::uint8_t {
    running,   // Started, and ready already.
    starting,  // Started; on_ready() or on_exited() follows.
    failed,    // Nothing runs, and nothing follows; `reason` says the step.
    over,      // Started, needed no readiness, and has ended already: on_exited() follows, and is
               // an end like any other, no failed start. Never to be shown as running.
    ignored,   // The service declined to run (OTP's `ignore`); nothing follows.
  };
  State state = State::failed;
  ExitReason reason;  // For `failed`.
  std::int64_t pid =
      0;  // 0 where there is no process of its own, or none yet: on_process() follows.
};

// Called on the loop thread, never from within launch(), request_stop() or kill().
class RunObserver {
 public:
  virtual ~RunObserver() = default;

  // The run has got its process, after a launch() that could not name it yet.
  virtual void on_process(RunId /*run*/, std::int64_t /*pid*/) {}

  virtual void on_ready(RunId run) = 0;

  // The run has ended by itself without ever being ready, because the service declined to run:
  // OTP's `ignore`. Takes the place of on_exited().
  virtual void on_ignored(RunId run) { on_exited(run, ExitReason::normal()); }

  // The run has ended: it executes nothing any more, or (stuck) is given up. Its process is gone,
  // or in the kernel's hands (StandbyAfter::death).
  virtual void on_exited(RunId run, ExitReason reason) = 0;
};

class Executor {
 public:
  virtual ~Executor() = default;

  // `observer` outlives the run. Never blocks on the service.
  [[nodiscard]] virtual LaunchOutcome launch(const Launch& launch, RunObserver& observer) = 0;

  // Asks politely: on_exited() follows when the service complies, as `shutdown`. Idempotent; an
  // unknown run is ignored.
  virtual void request_stop(RunId run) = 0;

  // Ends it without asking; on_exited() follows. Idempotent; an unknown run is ignored.
  virtual void kill(RunId run) = 0;

  // Runs that have not ended.
  [[nodiscard]] virtual std::size_t running() const = 0;
};

}  // namespace unirun
