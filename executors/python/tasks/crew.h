// Crew is the workers of one interpreter, and what they share: the queue of what is bound to
// nobody, and who of them sleeps. A submission wakes one at most, which calls the next when it
// finds more than its own task: a burst costs a wake or two, and a task that blocks holds nobody
// up. Where a worker and who waits for it run on two CPUs, they meet awake.
//
// Thread: any, but for what names one.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "executors/python/tasks/task_queue.h"
#include "framework/rendezvous.h"

namespace unirun::python {

class PythonWorker;

class Crew {
 public:
  Crew() = default;
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  // Queues it for any worker and sees to it that one comes. Takes the share over; false: the crew
  // is being dismissed, and the task is still the caller's.
  [[nodiscard]] bool push(TaskState* task);

  // As push(), for a chain of tasks by `next` from the newest to the oldest.
  [[nodiscard]] bool push_all(TaskState& newest, TaskState& oldest);

  // The next that any worker may run; nothing where there is none. Thread: a worker's.
  [[nodiscard]] Shared<TaskState> next(PythonWorker& worker);

  // Wakes this one, or, where none is named, one that is still awake, or went to sleep last.
  void call(PythonWorker& worker);
  void call_one();
  void call_all();

  // Lets the worker go to sleep, unless there is something to do. Thread: the worker's.
  [[nodiscard]] bool lie_down(PythonWorker& worker);
  // It woke for a reason of its own. Thread: the worker's.
  void get_up(PythonWorker& worker);

  // It was called and will not look for the next now. Thread: the worker's.
  void stop_searching(PythonWorker& worker);

  [[nodiscard]] bool has_sleepers() const { return asleep_.load(std::memory_order_relaxed) != 0; }

  // Where the workers meet who waits for what they do.
  [[nodiscard]] Rendezvous& rendezvous() { return rendezvous_; }

  // No more pushes. What is queued stays, for the workers or for take_left().
  void dismiss() { queue_.close(); }
  void gather() { queue_.open(); }
  [[nodiscard]] Shared<TaskState> take_left() { return queue_.pop(); }
  [[nodiscard]] Shared<TaskState> take_oldest() { return queue_.pop_oldest(); }
  // As the queue has it.
  void note_ended() { queue_.note_ended(); }

  // In a child of fork(): nobody sleeps here.
  void forget();

 private:
  void end_search(PythonWorker& worker);
  void wake(PythonWorker& worker);
  [[nodiscard]] bool remove(PythonWorker& worker);

  PythonTaskQueue queue_;
  alignas(64) std::atomic<std::size_t> asleep_{0};
  std::atomic<bool> searching_{
      false};         // One was called and has not yet found what it was called for.
  std::mutex mutex_;  // Guards the next.
  std::vector<PythonWorker*> sleepers_;  // To be called from the back.
  alignas(64) Rendezvous rendezvous_;
};

}  // namespace unirun::python
