// LoopPool is the asyncio loops of an executor, each a thread: they begin when there is something
// for them, and a coroutine goes to the one that has the least to do.
//
// Thread: any, but for what names one. Nobody asks for the GIL under its lock.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "executors/python/async/async_loop.h"
#include "executors/python/error.h"
#include "executors/python/tasks/statistics.h"

namespace unirun::python {

class LoopPool {
 public:
  struct Options {
    std::uint32_t size = 1;
    std::size_t stack_bytes = 0;
  };

  explicit LoopPool(WorkerObserver& observer) : observer_(observer) {}
  LoopPool(const LoopPool&) = delete;
  LoopPool& operator=(const LoopPool&) = delete;

  // ---- Thread: the owner's ----

  // Takes tasks from now on. REQUIRES: no loop runs.
  void open(Options options);
  // Takes no more; what is queued stays.
  void refuse();
  [[nodiscard]] Shared<TaskState> take_left();
  // Has each end; so many had not at `deadline`, and are given up. Those that have stay for the
  // statistics, until the next open().
  [[nodiscard]] std::size_t join(Instant deadline);
  // In a child of fork(): its threads are the parent's, and what they held is left alone.
  void forget();

  // ---- Thread: any ----

  // Takes the caller's share over, unless it fails: not_initialized, it is not open; unsupported,
  // no loop can be had. REQUIRES: task->coroutine.
  [[nodiscard]] Result<void> push(TaskState* task);
  [[nodiscard]] Shared<TaskState> take_oldest();
  void cancel_all();
  // It does not come back from a step: what waits for it goes to another, as does what comes.
  void pass_over(AsyncLoop& loop);
  // Adds what they have begun. What ends is read before what begins.
  void add_to(Stats& stats);

  // ---- Thread: with the GIL ----

  // As RunningTask::find_to_end() has it.
  void interrupt_running(bool again);
  [[nodiscard]] std::vector<Shared<TaskState>> tasks();

 private:
  using Loops = std::vector<std::unique_ptr<AsyncLoop>>;

  // Where the next task goes, which the loop counts as its own from now on.
  [[nodiscard]] Result<AsyncLoop*> choose(LoopHome* home);
  [[nodiscard]] Result<AsyncLoop*> choose_any();
  [[nodiscard]] bool is_usable(const AsyncLoop* loop) const;
  [[nodiscard]] std::vector<AsyncLoop*> all();

  WorkerObserver& observer_;
  std::mutex mutex_;  // Guards the next three.
  Options options_;
  Loops loops_;
  bool is_open_ = false;
};

}  // namespace unirun::python
