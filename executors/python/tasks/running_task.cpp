#include "executors/python/tasks/running_task.h"

#include <utility>

#include "executors/python/async/coroutine_task.h"
#include "executors/python/interpreter/interruption.h"
#include "executors/python/interpreter/raise_in_thread.h"

namespace unirun::python {

void RunningTask::settle_in() {
  python_id_ = PyThread_get_thread_ident();
  python_state_ = PyThreadState_Get();
}

void RunningTask::move(PyThreadState* from, PyThreadState* to) {
  const InterruptionLock lock(mutex_);
  python_id_ = to->thread_id;
  python_state_ = to;
  const Reference pending = Reference::borrow(from->async_exc);
  if (!pending) return;
  static_cast<void>(raise_in_thread(from->thread_id, nullptr));
  static_cast<void>(raise_in_thread(to->thread_id, pending.get()));
}

RunningTask::Step::Step(RunningTask& running, TaskState* task)
    : running_(running), task_(task), outer_(running.innermost_) {
  const InterruptionLock lock(running.mutex_);
  running.innermost_ = this;
  outer_interrupted_ = std::exchange(running.interrupted_, false);
  // What was sent to the task that waits for this one waits until that goes on.
  outer_waits_ = outer_interrupted_ && is_interruption_pending(PyThreadState_Get());
  if (outer_waits_) clear_interruption(running.python_id_);
  outer_shields_ = std::exchange(running.shields_, 0);
  outer_deferred_ = std::exchange(running.deferred_, false);
  running.task_.store(task, std::memory_order_release);
}

RunningTask::Step::~Step() {
  const InterruptionLock lock(running_.mutex_);
  // It must not strike what runs here next, nor code of ours.
  if (running_.interrupted_) clear_interruption(running_.python_id_);
  if (outer_waits_) static_cast<void>(interrupt_thread(running_.python_id_));
  running_.shields_ = outer_shields_;
  running_.deferred_ = outer_deferred_;
  running_.interrupted_ = outer_interrupted_;
  running_.innermost_ = outer_;
  running_.task_.store(outer_ != nullptr ? outer_->task_ : nullptr, std::memory_order_release);
}

Shared<TaskState> RunningTask::find_to_end(bool again) {
  return find([again](TaskState& task) {
    constexpr std::uint8_t enough = 2;
    const std::uint8_t looks = task.looks_at_end;
    if (looks < enough) ++task.looks_at_end;
    const bool is_on_loop = task.coroutine != nullptr && task.coroutine->loop() != nullptr;
    return again || (is_on_loop ? looks == 1 && !task.coroutine->was_cancelled() : looks == 0);
  });
}

std::vector<Shared<TaskState>> RunningTask::all() {
  std::vector<Shared<TaskState>> tasks;
  const InterruptionLock lock(mutex_);
  for (const Step* step = innermost_; step != nullptr; step = step->outer_) {
    if (step->task_ == nullptr) continue;
    step->task_->add_owner();
    tasks.emplace_back(step->task_);
  }
  return tasks;
}

RunningTask::Strike RunningTask::strike(const TaskState& task) {
  const InterruptionLock lock(mutex_);
  if (task_.load(std::memory_order_relaxed) != &task) return Strike::missed;
  if (is_shielded()) {
    deferred_ = true;
    return Strike::deferred;
  }
  if (is_out_of_reach(python_state_)) return Strike::not_now;
  if (!interrupt_thread(python_id_)) return Strike::missed;
  if (!interrupted_) counts_.interrupted.add(1);
  interrupted_ = true;
  if (wait_ != nullptr) wait_->end_early();
  return Strike::struck;
}

void RunningTask::raise_shield() {
  const InterruptionLock lock(mutex_);
  ++shields_;
}

bool RunningTask::lower_shield() {
  const InterruptionLock lock(mutex_);
  if (!is_shielded() || --shields_ > 0 || !std::exchange(deferred_, false)) return false;
  counts_.interrupted.add(1);
  return true;
}

void RunningTask::set_wait(InterruptibleWait* wait) {
  const InterruptionLock lock(mutex_);
  wait_ = wait;
}

bool RunningTask::take_interruption() {
  const InterruptionLock lock(mutex_);
  if (!is_interruption_pending(PyThreadState_Get())) return false;
  clear_interruption(python_id_);
  return true;
}

}  // namespace unirun::python
