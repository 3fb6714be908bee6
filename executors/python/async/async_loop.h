// AsyncLoop is a thread that runs an asyncio loop, on which the coroutines of tasks run as
// asyncio's tasks do, with all that asyncio offers them. Both ways are event-driven: what is given
// to a loop that waits wakes it once a burst, and an idle one uses no time at all.
//
// Thread: any, but for what names one. Nobody but its own thread touches its Python objects.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "executors/python/async/coroutine_loop.h"
#include "executors/python/tasks/task_queue.h"
#include "executors/thread/service_thread.h"
#include "framework/doorbell.h"
#include "framework/result.h"

namespace unirun::python {

class AsyncLoop final : public CoroutineLoop {
 public:
  struct Options {
    std::uint32_t id = 0;
    std::size_t stack_bytes = 0;
  };

  AsyncLoop(WorkerObserver& observer, Options options)
      : CoroutineLoop(observer, counts_, running_), options_(options) {}
  AsyncLoop(const AsyncLoop&) = delete;
  AsyncLoop& operator=(const AsyncLoop&) = delete;
  ~AsyncLoop() override;

  // ---- For the owner ----

  // Where Python has no asyncio each task fails and says so. Errors: no thread, or no descriptor.
  [[nodiscard]] unirun::Status start();
  // It takes nothing more, begins what is queued, cancels what runs, awaits that, and ends.
  void dismiss();
  // True once its thread has ended, false at `deadline`.
  [[nodiscard]] bool join(Instant deadline);
  // It is given up: its thread ends when the code that holds it up does, if ever, and the loop is
  // to outlive that.
  void abandon();
  [[nodiscard]] bool is_abandoned() const { return abandoned_; }

  // ---- For all ----

  // One more is to be given to it.
  void reserve() { load_.fetch_add(1, std::memory_order_relaxed); }
  // REQUIRES: task->coroutine, and reserve() for it. False: it takes nothing, and the share is
  // still the caller's.
  [[nodiscard]] bool push(TaskState* task);
  void refuse() { queue_.close(); }
  // Of what is queued: the next, and the one that has waited longest among the least urgent.
  [[nodiscard]] Shared<TaskState> take_left();
  [[nodiscard]] Shared<TaskState> take_oldest();

  // It does not come back from a step, until it serves again.
  void hold_up() { held_up_.store(true); }
  [[nodiscard]] bool is_held_up() const { return held_up_.load(); }

  // So many were given to it and have not ended.
  [[nodiscard]] std::size_t load() const { return load_.load(std::memory_order_relaxed); }
  [[nodiscard]] const WorkerCounts& counts() const { return counts_; }

  // ---- Thread: with the GIL ----

  bool interrupt(const TaskState& task) override;
  // As RunningTask::find_to_end() has it.
  void interrupt_running(bool again);

 private:
  void live();
  [[nodiscard]] bool open_for_whoever_comes();
  void post_stop();

  [[nodiscard]] bool serve() override;
  [[nodiscard]] bool wait(int descriptor, Instant until) override;
  void wake() override;
  void let_go(TaskState& task) override;
  [[nodiscard]] bool has_work();
  void begin_or_pass_on(Shared<TaskState> task);

  const Options options_;
  WorkerCounts counts_;
  RunningTask running_{counts_};
  std::atomic<std::size_t> load_{0};
  std::atomic<bool> held_up_{false};

  PythonTaskQueue queue_;
  std::atomic<bool> asleep_{false};
  int bell_ = -1;  // An eventfd.

  std::optional<ServiceThread> thread_;
  bool abandoned_ = false;
  std::atomic<bool> dismissed_{false};
  std::atomic<bool> ended_{false};
  Doorbell end_;
};

}  // namespace unirun::python
