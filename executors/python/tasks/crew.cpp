#include "executors/python/tasks/crew.h"

#include <algorithm>
#include <new>

#include "executors/python/tasks/worker.h"

namespace unirun::python {

bool Crew::push(TaskState* task) { return push_all(*task, *task); }

bool Crew::push_all(TaskState& newest, TaskState& oldest) {
  const PythonTaskQueue::Pushed pushed = queue_.push_all(newest, oldest);
  if (pushed == PythonTaskQueue::Pushed::first) call_one();
  return pushed != PythonTaskQueue::Pushed::closed;
}

Shared<TaskState> Crew::next(PythonWorker& worker) {
  // Before it looks: who pushes later and sees nobody search calls another.
  end_search(worker);
  bool more = false;
  Shared<TaskState> task = queue_.pop(&more);
  // The task may block, and nobody else may come before it ends.
  if (more) call_one();
  return task;
}

void Crew::end_search(PythonWorker& worker) {
  if (!worker.searches()) return;
  worker.set_searching(false);
  searching_.store(false);
}

void Crew::stop_searching(PythonWorker& worker) {
  if (!worker.searches()) return;
  end_search(worker);
  if (!queue_.is_empty()) call_one();
}

void Crew::wake(PythonWorker& worker) {
  asleep_.fetch_sub(1);
  worker.wake();
}

bool Crew::remove(PythonWorker& worker) {
  const auto found = std::ranges::find(sleepers_, &worker);
  if (found == sleepers_.end()) return false;
  sleepers_.erase(found);
  return true;
}

void Crew::call_one() {
  if (asleep_.load() == 0 || searching_.exchange(true)) return;
  const std::lock_guard lock(mutex_);
  if (sleepers_.empty()) return searching_.store(false);
  PythonWorker* const worker = sleepers_.back();
  sleepers_.pop_back();
  worker->set_searching(true);
  wake(*worker);
}

void Crew::call(PythonWorker& worker) {
  if (asleep_.load() == 0) return;
  const std::lock_guard lock(mutex_);
  if (remove(worker)) wake(worker);
}

void Crew::call_all() {
  const std::lock_guard lock(mutex_);
  for (PythonWorker* const worker : sleepers_) wake(*worker);
  sleepers_.clear();
}

bool Crew::lie_down(PythonWorker& worker) {
  {
    const std::lock_guard lock(mutex_);
    worker.prepare_to_sleep();
    const bool awake = !sleepers_.empty() && sleepers_.back()->is_awake();
    sleepers_.insert(sleepers_.end() - (awake ? 1 : 0), &worker);
    asleep_.fetch_add(1);
  }
  // Whoever pushed before this saw nobody asleep: look once more.
  if (queue_.is_empty() && !worker.has_work()) return true;
  get_up(worker);
  return false;
}

void Crew::get_up(PythonWorker& worker) {
  const std::lock_guard lock(mutex_);
  if (remove(worker)) asleep_.fetch_sub(1);
}

// What waits in the queue is the parent's, and so is who was changing it.
void Crew::forget() {
  new (&queue_) PythonTaskQueue;
  new (&mutex_) std::mutex;
  sleepers_.clear();
  asleep_.store(0);
  searching_.store(false);
  rendezvous_.forget();
}

}  // namespace unirun::python
