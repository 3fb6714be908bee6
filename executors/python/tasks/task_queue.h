// PythonTaskQueue holds tasks between those who submit and the workers: by priority, and within one
// in the order of submission. Submitting takes no lock; a lower priority that was passed over often
// enough has its turn.
//
// Workers sort in what has come when they have run out of what they had sorted, and not task by
// task, so that the cache line at which submitters work seldom changes its CPU.
//
// Thread: any. Owns a share of each task in it. Unbounded: see Admission.

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "executors/python/tasks/task_state.h"

namespace unirun::python {

inline constexpr std::size_t priorities = 4;
inline constexpr std::uint8_t usual_priority = 1;

class PythonTaskQueue {
 public:
  PythonTaskQueue() = default;
  PythonTaskQueue(const PythonTaskQueue&) = delete;
  PythonTaskQueue& operator=(const PythonTaskQueue&) = delete;
  ~PythonTaskQueue() { clear(); }

  enum class Pushed : std::uint8_t {
    first,   // Nobody has been told of what stands here: wake a worker.
    more,    // Whoever comes for the first will find it.
    closed,  // And the task is still the caller's.
  };
  // Takes the caller's share over, unless it is closed.
  [[nodiscard]] Pushed push(TaskState* task) { return push_all(*task, *task); }
  // The same for a chain of tasks of one priority, by `next` from the newest to the oldest.
  [[nodiscard]] Pushed push_all(TaskState& newest, TaskState& oldest);

  // The next; nothing where there is none. `more`: whether another stands behind it.
  [[nodiscard]] Shared<TaskState> pop(bool* more = nullptr);

  // The one that has waited longest among the least urgent.
  [[nodiscard]] Shared<TaskState> pop_oldest();

  // One was ended that may stand here. Where that was so with many, they are dropped: however long
  // workers are busy, what does not run any more takes no more room than what will.
  void note_ended();

  [[nodiscard]] bool is_empty();
  // The same at a glance: what was pushed a moment ago may not be seen.
  [[nodiscard]] bool seems_empty() const { return is_sorted_empty() && !has_come(); }
  // All that stand here, and go on doing so.
  [[nodiscard]] std::vector<Shared<TaskState>> all();

  // A queue begins open. Once it is closed it takes nothing; what stands in it can still be had.
  void open();
  void close();

 private:
  class List {
   public:
    void append(TaskState* task);
    [[nodiscard]] TaskState* pop();
    [[nodiscard]] bool is_empty() const { return first_ == nullptr; }
    [[nodiscard]] TaskState* first() const { return first_; }

   private:
    TaskState* first_ = nullptr;
    TaskState* last_ = nullptr;
  };

  static constexpr std::size_t few_ended = 1024;

  void clear();
  void drop_ended();
  [[nodiscard]] bool has_come() const;
  [[nodiscard]] bool is_time_to_sort() const;
  void sort_in();
  [[nodiscard]] List* choose();
  [[nodiscard]] bool is_sorted_empty() const {
    return sorted_.load(std::memory_order_relaxed) == 0;
  }
  void count_sorted(std::ptrdiff_t more);

  alignas(64) std::atomic<TaskState*> newest_{nullptr};  // Not sorted in yet, the newest first.
  alignas(64) std::atomic<bool> urgent_{false};          // One of the most urgent is among those.
  std::atomic<std::size_t> ended_{0};                    // Since they were last dropped.
  std::atomic<std::size_t> most_ended_{few_ended};       // So many are not worth a look.
  alignas(64) std::mutex mutex_;        // Guards the rest. Nobody asks for the GIL within.
  std::uint32_t taken_ = 0;             // Since the last sorting.
  std::atomic<std::size_t> sorted_{0};  // So many stand in the next; others only look.
  std::array<List, priorities> lists_;
  std::array<std::uint32_t, priorities> passed_over_{};  // So many times since its last turn.
};

}  // namespace unirun::python
