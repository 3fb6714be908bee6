// PythonWorker is a thread that runs tasks with the GIL: in one thread state for life, many tasks
// under one hold. What is bound to it runs on it alone; what is bound to nobody it shares with its
// crew.
//
// Thread: its own, but for what names another.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "executors/python/contexts/context_state.h"
#include "executors/python/interpreter/own_interpreter.h"
#include "executors/python/tasks/crew.h"
#include "executors/python/tasks/placement.h"
#include "executors/python/tasks/running_task.h"
#include "executors/python/tasks/task_queue.h"
#include "executors/python/tasks/worker_counts.h"
#include "executors/python/tasks/worker_observer.h"
#include "executors/thread/service_thread.h"
#include "framework/doorbell.h"

namespace unirun::python {

class DescriptorWatch;
class WorkerLoop;

class PythonWorker {
 public:
  struct Options {
    std::uint32_t id = 0;
    std::size_t stack_bytes = 0;
    std::optional<int> cpu;   // To stay on.
    std::optional<int> node;  // That its memory is to come from.
    // Of its own, with a GIL of its own; else the main one. Where it cannot be had each task fails
    // with the reason.
    std::optional<OwnInterpreterOptions> interpreter{};
  };

  PythonWorker(Crew& crew, WorkerObserver& observer, DescriptorWatch& watch, Options options)
      : crew_(crew), observer_(observer), watch_(watch), options_(std::move(options)) {}
  PythonWorker(const PythonWorker&) = delete;
  PythonWorker& operator=(const PythonWorker&) = delete;
  ~PythonWorker();

  // The one whose thread this is; null on any other.
  [[nodiscard]] static PythonWorker* current();

  // ---- For the owner: thread any ----

  // Errors: no thread can be had, or it cannot stay on its CPU.
  [[nodiscard]] unirun::Status start();
  // Whether its memory comes from its node. REQUIRES: start() was well.
  [[nodiscard]] const unirun::Status& memory() const { return memory_; }
  // It ends when there is nothing left to do.
  void dismiss();
  // True once its thread has ended, false at `deadline`.
  [[nodiscard]] bool join(Instant deadline);
  // Waits until it can take tasks. Errors: of the interpreter that it is to have.
  [[nodiscard]] Result<void> wait_until_begun() const;
  // Where its tasks run; -1: not known yet.
  [[nodiscard]] std::int64_t interpreter_id() const { return interpreter_id_.load(); }
  [[nodiscard]] bool has_ended() const { return end_->is_here.load(); }
  // It is given up: its thread ends when its task does, if ever. The worker outlives that.
  void abandon();

  // Queues what only this worker may run. False: it was dismissed.
  [[nodiscard]] bool push(TaskState* task);
  // What waits here for this worker alone, and goes on doing so.
  [[nodiscard]] std::vector<Shared<TaskState>> waiting();

  // Coroutines of its contexts that have begun and not ended; has them all cancelled.
  [[nodiscard]] std::vector<Shared<TaskState>> coroutines() const;
  void cancel_coroutines();

  // So many contexts are to live here, or do.
  [[nodiscard]] std::uint32_t contexts() const { return context_count_.load(); }
  void expect_context() { context_count_.fetch_add(1); }

  // Raises Interrupted where the task runs, if it runs here now; at the end of its shields, if it
  // has any. Thread: with the GIL.
  [[nodiscard]] bool interrupt(const TaskState& task);
  [[nodiscard]] bool interrupt(const ContextState& context);
  [[nodiscard]] bool interrupt(TaskId id);
  // The same for whatever runs here now, as RunningTask::find_to_end() has it.
  void interrupt_running(bool again);
  // What runs here now, and waits beneath it. Thread: with the GIL.
  [[nodiscard]] std::vector<Shared<TaskState>> all_running();
  // What runs here now. Only to compare.
  [[nodiscard]] const TaskState* running() const { return running_.get(); }

  [[nodiscard]] const WorkerCounts& counts() const { return counts_; }
  [[nodiscard]] std::uint32_t id() const { return options_.id; }
  [[nodiscard]] std::optional<int> cpu() const { return options_.cpu; }

  // ---- For the crew ----

  void prepare_to_sleep() { rest_.store(looks, std::memory_order_relaxed); }
  // It has not yet fallen asleep, and whoever calls it need not wake it.
  [[nodiscard]] bool is_awake() const { return rest_.load(std::memory_order_relaxed) != sleeps; }
  void wake();
  // A dismissal is nothing to a task of it that waits.
  [[nodiscard]] bool has_work() {
    return !bound_.is_empty() || (dismissed_.load() && !waits_.load()) || is_loop_called();
  }
  [[nodiscard]] bool searches() const { return searches_; }
  void set_searching(bool searches) { searches_ = searches; }

  // ---- For the loop of its contexts ----

  [[nodiscard]] bool has_bound_work() const { return !bound_.seems_empty(); }
  [[nodiscard]] bool is_abandoned() const { return abandoned_.load(); }
  // Lets go of the GIL until the loop is called, or `until`. Thread: its own.
  void rest(Instant until);

  // ---- For contexts that live here ----

  // Those that have not moved out when the thread ends are ended then.
  void move_in(std::shared_ptr<ContextState> context);
  void move_out(ContextState& context);

  // ---- For tasks that run here ----

  // Serves what is queued until `task` is settled: true; false at `deadline`, and at once where it
  // is the end of a context that waits for what runs here. With the GIL, which is let go of while
  // there is nothing to do.
  [[nodiscard]] bool serve_until(TaskState& task, Instant deadline);

  // Runs `work` here, or, where too little of the stack is left, on a fresh thread that is the
  // worker's meanwhile. With the GIL. Errors: start_failed, that cannot be had, and it has not run.
  [[nodiscard]] unirun::Status run_with_room(const std::function<void()>& work);

  // As RunningTask has them. With the GIL.
  void raise_shield() { running_.raise_shield(); }
  [[nodiscard]] bool lower_shield() { return running_.lower_shield(); }
  [[nodiscard]] bool is_shielded() const { return running_.is_shielded(); }
  void set_wait(InterruptibleWait* wait) { running_.set_wait(wait); }
  [[nodiscard]] bool take_interruption() { return running_.take_interruption(); }

 private:
  void live();
  [[nodiscard]] unirun::Status settle_down();
  void begin();
  void work();
  void refuse();
  void serve();
  [[nodiscard]] bool visit(std::optional<OwnInterpreter::Visit>& visit);
  [[nodiscard]] bool strike(const TaskState& task);
  template <class Predicate>
  [[nodiscard]] bool interrupt_if(Predicate&& is_meant);
  [[nodiscard]] Shared<TaskState> take();
  void run(TaskState& task);
  void count(const TaskState& task, Instant began);
  void sleep(Instant until);
  void fall_asleep();
  void breathe();
  void attach_again(PyThreadState* state);
  void hand_to_loop(TaskState& task);
  [[nodiscard]] WorkerLoop* usable_loop() const;
  [[nodiscard]] bool is_loop_called() const;
  [[nodiscard]] Instant turn(WorkerLoop& loop);
  [[nodiscard]] Instant turn_loop();
  void turn_loop_if_due();
  void end_loop();
  void end_contexts();
  void leave_crew();
  [[nodiscard]] bool wait_for_either(TaskState& task, Instant deadline, bool bound_only);
  [[nodiscard]] unirun::Status run_on_stand_in(const std::function<void()>& work);

  Crew& crew_;
  WorkerObserver& observer_;
  DescriptorWatch& watch_;
  const Options options_;
  PythonTaskQueue bound_;
  WorkerCounts counts_;
  std::unordered_map<ContextState*, std::shared_ptr<ContextState>> contexts_;
  std::atomic<std::uint32_t> context_count_{0};

  enum Rest : std::uint32_t { looks, called, sleeps };

  std::atomic<std::uint32_t> rest_{looks};  // It sleeps on this.
  std::atomic<bool> waits_{false};          // For a task.
  bool searches_ = false;                   // Called by the crew, and has not looked yet.
  bool bound_next_ = false;                 // Whose turn it is.

  RunningTask running_{counts_};
  std::atomic<WorkerLoop*> loop_{nullptr};  // Of its contexts: its own, since the first coroutine.

  std::optional<ServiceThread> thread_;
  std::unique_ptr<OwnInterpreter> interpreter_;  // Others look once it has begun.
  std::optional<Error> refusal_;
  std::atomic<std::int64_t> interpreter_id_{-1};
  std::atomic<bool> begun_{false};
  Doorbell beginning_;
  std::promise<unirun::Status> settled_down_;
  unirun::Status memory_;
  std::atomic<bool> dismissed_{false};
  std::atomic<bool> abandoned_{false};
  // The thread's too, which is done with the worker before it says so: who has given the worker up
  // may drop it then.
  struct End {
    std::atomic<bool> is_here{false};
    Doorbell bell;
  };
  const std::shared_ptr<End> end_ = std::make_shared<End>();
};

}  // namespace unirun::python
