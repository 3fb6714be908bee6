// CoroutineLoop runs the coroutines of tasks as tasks of asyncio's, on whichever thread runs it:
// an AsyncLoop has one of its own, a WorkerLoop its turns on a worker's, for the contexts there.
//
// Thread: its own, with the GIL, but for what names another. Nobody else touches its Python
// objects.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "executors/python/async/asyncio.h"
#include "executors/python/async/coroutine_task.h"
#include "executors/python/contexts/context_state.h"
#include "executors/python/error.h"
#include "executors/python/tasks/running_task.h"
#include "executors/python/tasks/worker_counts.h"
#include "executors/python/tasks/worker_observer.h"

namespace unirun::python {

class CoroutineLoop;

// What may be kept of a loop beyond its end, when it leads nowhere. Thread: any.
class LoopLink {
 public:
  explicit LoopLink(CoroutineLoop& loop) : loop_(&loop) {}

  // As the loop does it, or not at all.
  void post(std::function<void()> function);
  void cancel(Shared<TaskState> task);
  void give_up(Shared<TaskState> task);
  void cut();

 private:
  std::mutex mutex_;
  CoroutineLoop* loop_;
};

class CoroutineLoop : protected Asyncio::Client {
 public:
  CoroutineLoop(const CoroutineLoop&) = delete;
  CoroutineLoop& operator=(const CoroutineLoop&) = delete;
  virtual ~CoroutineLoop() = default;

  // So many tasks begin at most before what has begun has its turn.
  static constexpr unsigned tasks_per_turn = 256;

  // The one whose turn it is on this thread: what waits here would hold it up. Null: none's.
  [[nodiscard]] static CoroutineLoop* current();

  // ---- Thread: any ----

  // Calls `function` on its thread, with the GIL, soon; never once the loop has ended.
  void post(std::function<void()> function);
  // For whoever does not know how long the loop lives.
  [[nodiscard]] const std::shared_ptr<LoopLink>& link() const { return link_; }
  // Has asyncio cancel what runs here, which takes the time that its `finally` needs.
  void cancel(Shared<TaskState> task);
  void cancel_all();
  // One of a context that goes on after its cancellation has ended for us, soon, if it has not.
  void give_up(Shared<TaskState> task);
  // Those that have begun and not ended.
  [[nodiscard]] std::vector<Shared<TaskState>> tasks() const;
  // So many steps of theirs have begun.
  [[nodiscard]] std::uint64_t steps() const { return steps_.load(std::memory_order_relaxed); }
  // Raises Interrupted in the step that the task takes just now. False: it takes none. With the
  // GIL.
  virtual bool interrupt(const TaskState& task) = 0;

  // ---- Thread: its own, with the GIL ----

  [[nodiscard]] Asyncio& asyncio() { return asyncio_; }

  // For CoroutineDriver: the task takes a step in this scope.
  class Step {
   public:
    Step(CoroutineLoop& loop, CoroutineTask& task);
    ~Step();
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    const RunningTask::Step step_;
    ContextState* const outer_;
  };
  // Its coroutine has returned `value`, or raised (null). The exception of a cancellation is still
  // set afterwards.
  [[nodiscard]] CoroutineEnd end(CoroutineTask& task, PyObject* value);

 protected:
  CoroutineLoop(WorkerObserver& observer, WorkerCounts& counts, RunningTask& running)
      : observer_(observer), counts_(counts), running_(running) {}

  // It is the current one in this scope.
  class Turn {
   public:
    explicit Turn(CoroutineLoop& loop);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    CoroutineLoop* const outer_;
  };

  // False: there is no asyncio, and each task that begins fails and says so.
  [[nodiscard]] bool open();
  void begin(Shared<TaskState> task);
  [[nodiscard]] bool has_posted() const { return has_posted_.load(); }
  void run_posted();
  // Of what asyncio has forgotten without an end: a coroutine that swallows its cancellation.
  // Nothing is posted from now on.
  void settle_what_is_left();
  // Lets go of all that is Python's.
  void drop();

  // It sleeps, or may: there is something to do. Thread: any.
  virtual void wake() = 0;
  // Why this one is not to begin; nothing: it is.
  [[nodiscard]] virtual std::optional<Error> refusal(const TaskState& task);
  // One that was to begin has ended, or never will.
  virtual void let_go(TaskState& task) = 0;

 private:
  [[nodiscard]] Result<void> start_coroutine(CoroutineTask& task);
  void cancel_in_asyncio(CoroutineTask& task);
  void leave_alone(CoroutineTask& task, const char* when);
  void link(CoroutineTask& task);
  void unlink(CoroutineTask& task);
  void count_end(CoroutineTask& task);

  WorkerObserver& observer_;
  WorkerCounts& counts_;
  RunningTask& running_;

  const std::shared_ptr<LoopLink> link_{std::make_shared<LoopLink>(*this)};
  std::mutex posted_mutex_;  // Guards the next two. Nothing is called under it.
  std::vector<std::function<void()>> posted_;
  bool takes_posts_ = true;
  std::atomic<bool> has_posted_{false};

  std::atomic<std::uint64_t> steps_{0};
  mutable std::mutex tasks_mutex_;  // Guards the next, for those who look on.
  CoroutineTask* first_ = nullptr;  // Of those that have begun and not ended.

  Asyncio asyncio_;
  Reference driver_type_;
  Error failure_;  // Why there is no asyncio.
};

}  // namespace unirun::python
