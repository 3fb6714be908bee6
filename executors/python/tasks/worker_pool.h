// WorkerPool is workers that share a queue, of one interpreter or with one each: it starts and
// joins them, finds the one that runs a task, and puts another in the place of one that does not
// come back.
//
// Thread: any, but for what names one. Nobody asks for the GIL under its lock.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "executors/python/async/descriptor_watch.h"
#include "executors/python/error.h"
#include "executors/python/tasks/crew.h"
#include "executors/python/tasks/placement.h"
#include "executors/python/tasks/statistics.h"
#include "executors/python/tasks/worker.h"

namespace unirun::python {

class WorkerPool {
 public:
  struct Options {
    std::uint32_t size = 0;  // 0: as many as this process may use cores.
    std::size_t stack_bytes = 0;
    std::vector<int> pin{};                              // CPUs: worker n stays on pin[n % size].
    std::optional<OwnInterpreterOptions> interpreter{};  // One for each worker; else the main one.
  };

  // That this process may use.
  [[nodiscard]] static std::uint32_t cores();

  explicit WorkerPool(WorkerObserver& observer) : observer_(observer) { crew_.dismiss(); }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // What is bound to nobody goes here.
  [[nodiscard]] Crew& crew() { return crew_; }

  // ---- Thread: the owner's ----

  // Errors: unsupported, no thread can be had or it cannot stay on its CPU, and none is left.
  // REQUIRES: none runs.
  [[nodiscard]] Result<void> start(Options options);
  // Waits until each has the interpreter that it is to have. Errors: of the first that has not.
  // Without the GIL.
  [[nodiscard]] Result<void> wait_until_begun();
  // Has each end when there is nothing left to do; so many had not at `deadline`, and are given up.
  // Those that have stay for the statistics, until the next start.
  [[nodiscard]] std::size_t join(Instant deadline);
  // Nobody runs any more, nor those that were given up.
  [[nodiscard]] bool has_ended();
  // In a child of fork(): its threads are the parent's, and what they held is left alone.
  void forget();

  // ---- Thread: with the GIL ----

  // False: no worker runs it now, or it is shielded.
  [[nodiscard]] bool interrupt(const TaskState& task);
  [[nodiscard]] bool interrupt(TaskId task);
  // Those that run now, as RunningTask::find_to_end() has it.
  void interrupt_all(bool again);
  // All that run now, and wait beneath those.
  [[nodiscard]] std::vector<Shared<TaskState>> all_running();
  // Those of the worker that runs this one.
  [[nodiscard]] std::vector<Shared<TaskState>> all_running_with(const TaskState& task);

  // ---- Thread: any ----

  // The worker that runs this does not come back: another takes its place. Gives the one that it
  // was; null: none runs it, or there is no other to be had.
  [[nodiscard]] std::shared_ptr<PythonWorker> give_up(const TaskState& task);

  // The one for one more context: where fewest live. Null: there is none.
  [[nodiscard]] std::shared_ptr<PythonWorker> choose_for_context();

  // The one whose interpreter that is; null: none has one of its own, or this one.
  [[nodiscard]] std::shared_ptr<PythonWorker> worker_in(std::int64_t interpreter_id);

  // What waits for one worker alone, and goes on doing so.
  [[nodiscard]] std::vector<Shared<TaskState>> bound_tasks();

  // Coroutines of contexts that have begun and not ended; has all of them cancelled.
  [[nodiscard]] std::vector<Shared<TaskState>> coroutines();
  void cancel_coroutines();

  // What became of their memory.
  [[nodiscard]] NumaReport numa_report();

  // As far as the workers know: of what they have begun. So many run as had begun, of each worker,
  // and not ended by a moment later; whoever reads next how many were submitted finds no fewer.
  [[nodiscard]] Stats statistics();
  // Of what that calls running: on workers that were given up.
  [[nodiscard]] std::uint64_t running_given_up();

 private:
  using Workers = std::vector<std::shared_ptr<PythonWorker>>;

  [[nodiscard]] std::shared_ptr<PythonWorker> make_worker(std::uint32_t id);
  [[nodiscard]] Workers workers();
  [[nodiscard]] Workers::iterator find(const TaskState& task);
  void retire();

  WorkerObserver& observer_;
  Crew crew_;
  DescriptorWatch watch_;
  Options options_;
  NumaNodes nodes_;
  std::mutex mutex_;  // Guards the next four.
  Workers workers_;   // The same ones while `ending_`.
  Workers given_up_;
  Workers kept_;         // Of starts before, and have not ended.
  bool ending_ = false;  // Nobody gets a successor any more.
};

}  // namespace unirun::python
