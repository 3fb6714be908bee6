// WorkerLoop is the asyncio loop of a worker, for the coroutines of the contexts that live there:
// on their thread, in turns with all else that the worker runs. It begins with the first of them,
// and never waits: until asyncio's next timer, or until one of its descriptors is readable, the
// worker sleeps as it always does.
//
// Thread: the worker's, with the GIL, but for what names another.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "executors/python/async/coroutine_loop.h"
#include "executors/python/async/descriptor_watch.h"
#include "executors/python/tasks/task_queue.h"

namespace unirun::python {

class PythonWorker;

class WorkerLoop final : public CoroutineLoop {
 public:
  // Of a worker, which owns it, and whose counts and running task these are.
  WorkerLoop(PythonWorker& worker, WorkerObserver& observer, WorkerCounts& counts,
             RunningTask& running, DescriptorWatch& watch)
      : CoroutineLoop(observer, counts, running),
        worker_(worker),
        running_(running),
        watch_(watch) {}

  // ---- Thread: any ----

  bool interrupt(const TaskState& task) override;
  // Something has come that it is to have a turn for.
  [[nodiscard]] bool is_called() const { return has_posted() || is_readable_.load(); }
  // Those that have not begun, and go on waiting.
  [[nodiscard]] std::vector<Shared<TaskState>> taken() { return taken_.all(); }

  // ---- Thread: the worker's, with the GIL ----

  // It begins in the next turn, in the order of coming. REQUIRES: task->coroutine, of a context.
  void take(Shared<TaskState> task);
  [[nodiscard]] bool has_taken() const { return count_ > 0; }
  // Others have had their turn for long enough.
  [[nodiscard]] bool is_due() const;
  // Runs what is ready, for a moment at most. When the next turn is to be: the epoch: once others
  // have had theirs.
  [[nodiscard]] Instant turn();
  // Cancels and awaits what is left, for a while, and then leaves it alone.
  void end();
  [[nodiscard]] bool has_ended() const { return has_ended_; }

 private:
  [[nodiscard]] bool serve() override;
  [[nodiscard]] bool wait(int descriptor, Instant until) override;
  void wake() override;
  [[nodiscard]] std::optional<Error> refusal(const TaskState& task) override;
  void let_go(TaskState& task) override;

  void open();
  void run();
  void begin_taken();
  void leave_contexts();

  PythonWorker& worker_;
  RunningTask& running_;
  DescriptorWatch& watch_;
  PythonTaskQueue taken_;
  unsigned count_ = 0;                               // Of those.
  std::vector<std::shared_ptr<ContextState>> left_;  // A task of theirs has ended in this turn.

  Reference variables_;   // The context of contextvars that turns run in.
  bool is_open_ = false;  // And watched.
  bool is_ending_ = false;
  bool has_ended_ = false;
  std::optional<Error> unwatched_;  // Why nobody watches its descriptors.

  bool is_idle_ = false;  // Nothing is ready.
  Instant next_{};        // Then: until when.
  Instant end_of_turn_{};

  DescriptorWatch::Id watched_ = DescriptorWatch::Id::none;
  std::atomic<bool> is_watched_{false};   // Somebody looks.
  std::atomic<bool> is_readable_{false};  // And has seen something.
};

}  // namespace unirun::python
