#include "executors/python/tasks/task_queue.h"

#include <algorithm>

namespace unirun::python {
namespace {

// A priority has its turn at the latest after so many of more urgent ones.
constexpr std::uint32_t most_passed_over = 64;

// Stands for the newest task of a queue that is closed.
TaskState* closed_mark() { return reinterpret_cast<TaskState*>(std::uintptr_t{1}); }

}  // namespace

void PythonTaskQueue::List::append(TaskState* task) {
  task->next = nullptr;
  (first_ == nullptr ? first_ : last_->next) = task;
  last_ = task;
}

TaskState* PythonTaskQueue::List::pop() {
  TaskState* const task = first_;
  if (task != nullptr) first_ = task->next;
  return task;
}

PythonTaskQueue::Pushed PythonTaskQueue::push_all(TaskState& newest, TaskState& oldest) {
  const bool is_urgent = newest.priority == 0;  // Once it is pushed the task may be gone.
  TaskState* older = newest_.load(std::memory_order_relaxed);
  do {
    if (older == closed_mark()) return Pushed::closed;
    oldest.next = older;
    // Sequentially consistent: a worker that goes to sleep says so and looks here once more.
  } while (!newest_.compare_exchange_weak(older, &newest));
  if (is_urgent && !urgent_.load()) urgent_.store(true);
  return older == nullptr ? Pushed::first : Pushed::more;
}

bool PythonTaskQueue::has_come() const {
  const TaskState* const newest = newest_.load();
  return newest != nullptr && newest != closed_mark();
}

// Whoever is next in the lists may not be the next of all.
bool PythonTaskQueue::is_time_to_sort() const {
  const bool only_less_urgent = lists_[0].is_empty() && lists_[usual_priority].is_empty();
  return only_less_urgent || urgent_.load(std::memory_order_relaxed) || taken_ > most_passed_over;
}

void PythonTaskQueue::sort_in() {
  taken_ = 0;
  // Before it looks: who pushes later says so again.
  if (urgent_.load(std::memory_order_relaxed)) urgent_.store(false);
  TaskState* newest = newest_.load();
  do {
    if (newest == nullptr || newest == closed_mark()) return;
  } while (!newest_.compare_exchange_weak(newest, nullptr));
  TaskState* oldest = nullptr;
  while (newest != nullptr) {
    TaskState* const older = std::exchange(newest->next, oldest);
    oldest = std::exchange(newest, older);
  }
  std::ptrdiff_t sorted = 0;
  while (oldest != nullptr) {
    TaskState* const next = oldest->next;
    lists_[oldest->priority].append(oldest);
    oldest = next;
    ++sorted;
  }
  count_sorted(sorted);
}

PythonTaskQueue::List* PythonTaskQueue::choose() {
  std::size_t chosen = priorities;
  for (std::size_t at = 0; at < priorities; ++at) {
    if (lists_[at].is_empty()) continue;
    if (chosen == priorities) {
      chosen = at;
    } else if (++passed_over_[at] > most_passed_over) {
      chosen = at;
      break;
    }
  }
  if (chosen == priorities) return nullptr;
  passed_over_[chosen] = 0;
  return &lists_[chosen];
}

void PythonTaskQueue::count_sorted(std::ptrdiff_t more) {
  const std::size_t before = sorted_.load(std::memory_order_relaxed);
  sorted_.store(before + static_cast<std::size_t>(more), std::memory_order_relaxed);
}

Shared<TaskState> PythonTaskQueue::pop(bool* more) {
  const std::lock_guard lock(mutex_);
  if (is_time_to_sort()) sort_in();
  List* const list = choose();
  if (list == nullptr) return {};
  ++taken_;
  TaskState* const task = list->pop();
  count_sorted(-1);
  if (more != nullptr) *more = !is_sorted_empty() || has_come();
  return Shared<TaskState>(task);
}

Shared<TaskState> PythonTaskQueue::pop_oldest() {
  const std::lock_guard lock(mutex_);
  sort_in();
  for (std::size_t at = priorities; at-- > 0;) {
    if (lists_[at].is_empty()) continue;
    count_sorted(-1);
    return Shared<TaskState>(lists_[at].pop());
  }
  return {};
}

void PythonTaskQueue::note_ended() {
  const std::size_t ended = ended_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (ended > most_ended_.load(std::memory_order_relaxed)) drop_ended();
}

void PythonTaskQueue::drop_ended() {
  std::vector<Shared<TaskState>> dropped;  // After the lock.
  const std::lock_guard lock(mutex_);
  ended_.store(0, std::memory_order_relaxed);
  sort_in();
  for (List& list : lists_) {
    List kept;
    while (TaskState* const task = list.pop()) {
      if (task->is_claimed()) {
        dropped.emplace_back(task);
      } else {
        kept.append(task);
      }
    }
    list = kept;
  }
  count_sorted(-static_cast<std::ptrdiff_t>(dropped.size()));
  // Each look pays for itself: it comes after as many endings as there are tasks to look at.
  most_ended_.store(std::max(few_ended, sorted_.load(std::memory_order_relaxed)),
                    std::memory_order_relaxed);
}

bool PythonTaskQueue::is_empty() {
  const std::lock_guard lock(mutex_);
  return is_sorted_empty() && !has_come();
}

std::vector<Shared<TaskState>> PythonTaskQueue::all() {
  std::vector<Shared<TaskState>> tasks;
  const std::lock_guard lock(mutex_);
  sort_in();
  for (const List& list : lists_) {
    for (TaskState* task = list.first(); task != nullptr; task = task->next) {
      task->add_owner();
      tasks.emplace_back(task);
    }
  }
  return tasks;
}

void PythonTaskQueue::open() {
  TaskState* closed = closed_mark();
  newest_.compare_exchange_strong(closed, nullptr);
}

void PythonTaskQueue::close() {
  const std::lock_guard lock(mutex_);
  TaskState* nothing = nullptr;
  // Whoever pushes meanwhile is sorted in, and tried again.
  while (!newest_.compare_exchange_strong(nothing, closed_mark()) && nothing != closed_mark()) {
    sort_in();
    nothing = nullptr;
  }
}

void PythonTaskQueue::clear() {
  while (pop()) {
  }
}

}  // namespace unirun::python
