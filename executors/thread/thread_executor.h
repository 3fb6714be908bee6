// ThreadExecutor runs services on threads of the host: one thread a life, named after the service.
//
// - A stop asks by cancellation. kill() asks once more, then interrupts (Service::interrupt(),
// which
//   Python services answer and C++ services cannot).
// - A thread cannot be killed. One that ends neither way is reported `stuck` with its stack after
//   `grace`, and abandoned: it keeps what it has until it ends by itself, and nobody hears of that.
// - What escapes from a service is its crash, and nobody else's.
//
// Thread: the loop's, except abandoned().

#pragma once

#include <cstddef>
#include <memory>

#include "executors/executor.h"
#include "executors/in_process/in_process_world.h"
#include "framework/time.h"

namespace unirun {

struct ThreadExecutorOptions {
  Duration grace = std::chrono::seconds{1};  // From kill() to `stuck`.
  std::size_t stack_bytes = 0;               // Of each thread; 0: as the system has it.
};

class ThreadExecutor final : public Executor {
 public:
  explicit ThreadExecutor(const InProcessParts& parts, ThreadExecutorOptions options = {});

  // Cancels and interrupts what still runs, waits for it up to `grace`, and abandons the rest.
  ~ThreadExecutor() override;
  ThreadExecutor(const ThreadExecutor&) = delete;
  ThreadExecutor& operator=(const ThreadExecutor&) = delete;

  [[nodiscard]] LaunchOutcome launch(const Launch& launch, RunObserver& observer) override;
  void request_stop(RunId run) override;
  void kill(RunId run) override;
  [[nodiscard]] std::size_t running() const override;

  // Threads that were abandoned and still run, of all executors of this process. While there is
  // one, a program may not run its static destructors: it leaves by _exit(). Thread: any.
  [[nodiscard]] static std::size_t abandoned();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
