// AsyncExecutor runs services as coroutines on the host's own loop (Service::run_async): one life
// costs a coroutine, and its restart no thread, no system call and no turn of its own.
//
// - A service begins within launch(), up to where it first waits.
// - A stop asks by cancellation: every wait of the house ends with it.
// - kill() destroys the coroutine where it waits. What lives on beyond its coroutine
//   (Service::survives_its_coroutine()) is interrupted instead, and given up as `stuck` if it has
//   not ended after `grace`.
// - What escapes is a crash of that service alone. A service that keeps the loop is named by a
//   loop_blocked event while it does; nobody can take the loop from it.
//
// Thread: the loop's.

#pragma once

#include <cstddef>
#include <memory>

#include "executors/executor.h"
#include "executors/in_process/in_process_world.h"
#include "framework/lag_histogram.h"
#include "framework/time.h"

namespace unirun {

struct AsyncExecutorOptions {
  // For one that went silent, from its cancellation to its end by force; for one that is
  // interrupted, from there to `stuck`.
  Duration grace = std::chrono::seconds{1};

  // From here on keeping the loop is told as loop_blocked.
  Duration blocked_after = std::chrono::milliseconds{100};
};

class AsyncExecutor final : public Executor {
 public:
  explicit AsyncExecutor(const InProcessParts& parts, AsyncExecutorOptions options = {});

  // Destroys what still runs where it waits, and tells nobody.
  ~AsyncExecutor() override;
  AsyncExecutor(const AsyncExecutor&) = delete;
  AsyncExecutor& operator=(const AsyncExecutor&) = delete;

  [[nodiscard]] LaunchOutcome launch(const Launch& launch, RunObserver& observer) override;
  void request_stop(RunId run) override;
  void kill(RunId run) override;
  [[nodiscard]] std::size_t running() const override;

  // How long the turns of the loop have taken; null before the first launch, when nobody looks.
  [[nodiscard]] const LagHistogram* loop_lag() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
