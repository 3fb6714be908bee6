// RunningTask is the task whose code a thread runs just now, and what is sent to it: an
// interruption strikes that one, and nothing that runs there before it, after it or beneath it.
//
// Thread: its own, with the GIL, but for what names another.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <cstdint>
#include <vector>

#include "executors/python/interpreter/interruption_lock.h"
#include "executors/python/tasks/task_state.h"
#include "executors/python/tasks/worker_counts.h"

namespace unirun::python {

// Where code of a task waits in the system, without the GIL.
class InterruptibleWait {
 public:
  // Has it end. Does not block. Thread: whoever interrupts the task, with the GIL.
  virtual void end_early() noexcept = 0;

 protected:
  ~InterruptibleWait() = default;
};

class RunningTask {
 public:
  // What it does to whom it interrupts is counted there.
  explicit RunningTask(WorkerCounts& counts) : counts_(counts) {}
  RunningTask(const RunningTask&) = delete;
  RunningTask& operator=(const RunningTask&) = delete;

  // From now on this thread is the one.
  void settle_in();
  // From now on another is, which stands in for it: with what was sent to the first and has not
  // been raised there.
  void move(PyThreadState* from, PyThreadState* to);

  // `task`, or nobody (null), runs in this scope: what would interrupt it interrupts this, and
  // nothing else.
  class Step {
   public:
    Step(RunningTask& running, TaskState* task);
    ~Step();
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    friend class RunningTask;
    RunningTask& running_;
    TaskState* const task_;
    Step* const outer_;
    bool outer_interrupted_ = false;
    bool outer_waits_ = false;  // What was sent to it waits until it goes on.
    unsigned outer_shields_ = 0;
    bool outer_deferred_ = false;
  };

  enum class Strike : std::uint8_t {
    missed,    // It does not run here.
    struck,    // Interrupted is raised in it.
    deferred,  // At the end of its shields it will be.
    not_now,   // It imports or finalizes: ask again.
  };
  // Thread: any, with the GIL of this one's interpreter.
  [[nodiscard]] Strike strike(const TaskState& task);

  // Only to compare. Thread: any.
  [[nodiscard]] TaskState* get() const { return task_.load(std::memory_order_acquire); }
  // The one that runs, if `is_meant` says so of it. Thread: as strike().
  template <class Predicate>
  [[nodiscard]] Shared<TaskState> find(Predicate&& is_meant);
  // The same, if it is to be struck because the executor ends: once, so that its `finally` can run;
  // a coroutine's step only where the loop has not had its turn to cancel it. `again`: in any case.
  [[nodiscard]] Shared<TaskState> find_to_end(bool again);
  // It, and all that wait beneath it. Thread: as strike().
  [[nodiscard]] std::vector<Shared<TaskState>> all();

  // From here to the same number of lower_shield() what would be raised waits.
  void raise_shield();
  // True: something has waited, and is the caller's to raise.
  [[nodiscard]] bool lower_shield();
  [[nodiscard]] bool is_shielded() const { return shields_ > 0; }

  // What an interruption that is sent from now on ends, besides; null: nothing.
  void set_wait(InterruptibleWait* wait);
  // True: what was sent here and has not been raised is taken back, and is the caller's to raise.
  [[nodiscard]] bool take_interruption();

 private:
  WorkerCounts& counts_;
  std::atomic<TaskState*> task_{nullptr};
  Step* innermost_ = nullptr;
  InterruptionMutex mutex_{};  // Where there is no GIL: guards all this against strike().
  bool interrupted_ = false;   // An exception was sent to this thread for `task_`.
  unsigned shields_ = 0;       // Of `task_`.
  bool deferred_ = false;      // An interruption of it waits for the last of them to go.
  InterruptibleWait* wait_ = nullptr;
  unsigned long python_id_ = 0;  // Of the thread, as Python's threading has it.
  PyThreadState* python_state_ = nullptr;
};

template <class Predicate>
Shared<TaskState> RunningTask::find(Predicate&& is_meant) {
  const InterruptionLock lock(mutex_);
  TaskState* const task = task_.load(std::memory_order_relaxed);
  if (task == nullptr || !is_meant(*task)) return {};
  task->add_owner();  // It cannot end before we let go of the GIL, or of the lock.
  return Shared<TaskState>(task);
}

}  // namespace unirun::python
