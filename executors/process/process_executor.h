// ProcessExecutor runs services as OS processes: commands, and Python targets in an interpreter of
// their own.
//
// - Nothing is forked: processes are spawned by a vfork-style clone (spawner.h), which costs the
//   same whatever the host's size, and names the step that failed.
// - Death is told by the kernel through a pidfd, never by a closed pipe and never by polling.
// - No orphan, ever: each run has a process group, a death signal and a mark in its environment;
//   the host is a sub-reaper and sweeps what a run left behind (stray_sweeper.h); a guard process
//   does the same once the host itself is gone (guard.h).
// - A stop goes to the run's main process alone (control channel and stop signal), as in systemd's
//   KillMode=mixed: a server that manages workers of its own ends them in its own order. What is
//   left of the group when the main process has ended is killed at once.
//
// Thread: the loop's. A death signal fires when the *thread* that spawned has ended, so launch()
// belongs to a thread that lives as long as the host.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "executors/executor.h"
#include "executors/output/output_store.h"
#include "executors/service_metrics.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/result.h"

namespace unirun {

struct ProcessExecutorOptions {
  // Seeds the mark of this host (and the names of notify sockets); 0 asks the system.
  std::uint64_t seed = 0;

  // Puts the host's mark into the environment of this very process: what services on threads and on
  // the loop start by themselves carries it then, and ends with the host. For a process that is a
  // host and nothing else.
  bool mark_process = false;

  // For Python targets that name none.
  std::string python_interpreter = "python3";

  // Told to Python workers, so that they can observe the host. Empty: there is none.
  std::string control_socket{};

  // Takes what workers count; outlives the executor. Null: nobody counts.
  ServiceMetrics* metrics = nullptr;

  // The guard's program. Empty: unirun-guard in $UNIRUN_LIBEXEC; then beside the program or Python
  // module that holds this code, in libexec/ there, and in ../libexec/unirun from there.
  std::string guard_program;

  // Without a guard a SIGKILL of the host leaves the host's grandchildren alive. For tests only.
  bool with_guard = true;

  // Is unirun the only one in this process that starts processes? True for the unirun binary; false
  // where the host lives in a foreign program (Python): then children without our mark are neither
  // reaped nor killed, for they belong to somebody else. Where it is true, SIGCHLD is taken by a
  // descriptor: start() blocks it in its own thread, and threads made before are to have it
  // blocked.
  bool sole_parent = true;
};

class ProcessExecutor final : public Executor {
 public:
  // All outlive the executor.
  ProcessExecutor(EventLoop& loop, EventBus& bus, OutputStore& output,
                  ProcessExecutorOptions options = {});

  // Kills whatever still runs, without ceremony, and takes leave of the guard. See drain().
  ~ProcessExecutor() override;
  ProcessExecutor(const ProcessExecutor&) = delete;
  ProcessExecutor& operator=(const ProcessExecutor&) = delete;

  // Makes this process a sub-reaper, raises its limit of descriptors, kills what an earlier host
  // of this user left behind together with its guard (told when the loop runs), and starts the
  // guard. Call once, before the first launch; takes some milliseconds. Errors: the guard's program
  // cannot be found or run.
  [[nodiscard]] Status start();

  [[nodiscard]] LaunchOutcome launch(const Launch& launch, RunObserver& observer) override;
  void request_stop(RunId run) override;
  void kill(RunId run) override;
  [[nodiscard]] std::size_t running() const override;

  // The last step of an orderly end: calls `on_drained` on the loop once no process with our mark
  // is left; the guard goes then, too. REQUIRES: nothing runs, and nothing is launched any more.
  void drain(std::function<void()> on_drained);

  // The value of UNIRUN_HOST in the environment of everything that runs here.
  [[nodiscard]] const std::string& host_mark() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
