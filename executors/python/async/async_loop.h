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
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "executors/python/async/asyncio.h"
#include "executors/python/async/coroutine_task.h"
#include "executors/python/error.h"
#include "executors/python/tasks/task_queue.h"
#include "executors/python/tasks/worker.h"
#include "executors/python/tasks/worker_counts.h"
#include "executors/thread/service_thread.h"
#include "framework/doorbell.h"
#include "framework/result.h"

namespace unirun::python {

class AsyncLoop final : private Asyncio::Client {
 public:
  struct Options {
    std::uint32_t id = 0;
    std::size_t stack_bytes = 0;
  };

  AsyncLoop(WorkerObserver& observer, Options options) : observer_(observer), options_(options) {}
  AsyncLoop(const AsyncLoop&) = delete;
  AsyncLoop& operator=(const AsyncLoop&) = delete;
  ~AsyncLoop();

  // The one whose thread this is; null on any other.
  [[nodiscard]] static AsyncLoop* current();

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
  // Calls `function` on its thread, with the GIL, soon; never once the loop has ended.
  void post(std::function<void()> function);
  // Has asyncio cancel what runs here, which takes the time that its `finally` needs.
  void cancel(Shared<TaskState> task);
  void cancel_all();

  // It does not come back from a step, until it serves again.
  void hold_up() { held_up_.store(true); }
  [[nodiscard]] bool is_held_up() const { return held_up_.load(); }

  // So many were given to it and have not ended.
  [[nodiscard]] std::size_t load() const { return load_.load(std::memory_order_relaxed); }
  [[nodiscard]] const WorkerCounts& counts() const { return counts_; }

  // ---- Thread: with the GIL ----

  // Raises Interrupted in the step that the task takes just now. False: it takes none.
  bool interrupt(const TaskState& task);
  void interrupt_running();
  // Those that have begun and not ended.
  [[nodiscard]] std::vector<Shared<TaskState>> tasks() const;

  // ---- Thread: its own, with the GIL ----

  [[nodiscard]] Asyncio& asyncio() { return asyncio_; }

  // For CoroutineDriver: a step of this task begins, and ends; its coroutine has returned `value`,
  // or raised (null). The exception of a cancellation is still set afterwards.
  void enter(CoroutineTask& task);
  void leave();
  [[nodiscard]] CoroutineEnd end(CoroutineTask& task, PyObject* value);

 private:
  void live();
  void fail_until_dismissed();
  void settle_what_is_left();

  [[nodiscard]] bool serve() override;
  [[nodiscard]] bool wait(int descriptor, Instant until) override;
  [[nodiscard]] bool has_work();
  void run_posted();
  void wake();

  void begin(Shared<TaskState> task);
  [[nodiscard]] Result<void> start_coroutine(CoroutineTask& task);
  void cancel_in_asyncio(CoroutineTask& task);
  void count_end(CoroutineTask& task);

  WorkerObserver& observer_;
  const Options options_;
  WorkerCounts counts_;
  std::atomic<std::size_t> load_{0};
  std::atomic<bool> held_up_{false};

  PythonTaskQueue queue_;
  std::mutex posted_mutex_;  // Guards the next two. Nothing is called under it.
  std::vector<std::function<void()>> posted_;
  bool takes_posts_ = true;
  std::atomic<bool> has_posted_{false};
  std::atomic<bool> asleep_{false};
  int bell_ = -1;  // An eventfd.

  std::atomic<TaskState*> running_{nullptr};
  std::mutex interruption_mutex_;  // Where there is no GIL: guards `running_` against interrupt().
  bool interrupted_ = false;       // An exception was sent to this thread for `running_`.
  unsigned long python_id_ = 0;    // Of the thread, as Python's threading has it.
  PyThreadState* python_state_ = nullptr;  // Its own.
  CoroutineTask* first_ = nullptr;         // Of those that have begun and not ended. With the GIL.

  Asyncio asyncio_;
  Reference driver_type_;
  Error failure_;  // Why there is no asyncio.

  std::optional<ServiceThread> thread_;
  bool abandoned_ = false;
  std::atomic<bool> dismissed_{false};
  std::atomic<bool> ended_{false};
  Doorbell end_;
};

}  // namespace unirun::python
