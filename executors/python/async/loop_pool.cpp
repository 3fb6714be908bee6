#include "executors/python/async/loop_pool.h"

#include <algorithm>
#include <utility>

#include "executors/python/interpreter/interpreter.h"

namespace unirun::python {

// ---- Beginning and end ----

// Of those before, who was given up is kept for ever.
void LoopPool::open(Options options) {
  const std::lock_guard lock(mutex_);
  for (auto& loop : loops_) {
    if (loop->is_abandoned()) static_cast<void>(loop.release());
  }
  loops_.clear();
  options_ = options;
  options_.size = std::max<std::uint32_t>(options_.size, 1);
  is_open_ = true;
}

void LoopPool::refuse() {
  const std::lock_guard lock(mutex_);
  is_open_ = false;
  for (const auto& loop : loops_) loop->refuse();
}

Shared<TaskState> LoopPool::take_left() {
  for (AsyncLoop* const loop : all()) {
    if (Shared<TaskState> task = loop->take_left()) return task;
  }
  return {};
}

std::size_t LoopPool::join(Instant deadline) {
  std::size_t left = 0;
  for (AsyncLoop* const loop : all()) loop->dismiss();
  for (AsyncLoop* const loop : all()) {
    if (loop->join(deadline)) continue;
    loop->abandon();
    ++left;
  }
  return left;
}

void LoopPool::forget() {
  new (&mutex_) std::mutex;
  for (auto& loop : loops_) static_cast<void>(loop.release());
  loops_.clear();
  is_open_ = false;
}

// ---- Tasks ----

// A loop lives until the next open().
std::vector<AsyncLoop*> LoopPool::all() {
  const std::lock_guard lock(mutex_);
  std::vector<AsyncLoop*> loops;
  for (const auto& loop : loops_) loops.push_back(loop.get());
  return loops;
}

bool LoopPool::is_usable(const AsyncLoop* loop) const {
  return std::ranges::any_of(
      loops_, [=](const auto& one) { return one.get() == loop && !one->is_held_up(); });
}

Result<AsyncLoop*> LoopPool::choose(LoopHome* home) {
  const std::lock_guard lock(mutex_);
  const bool is_home = home != nullptr && is_open_ && is_usable(home->loop);
  const auto chosen = is_home ? Result<AsyncLoop*>(home->loop) : choose_any();
  if (!chosen.ok()) return chosen;
  if (home != nullptr) home->loop = *chosen;
  // At once: two that chose at a time would take it for idle both, and one wait for the other.
  (*chosen)->reserve();
  return chosen;
}

// REQUIRES: the lock.
Result<AsyncLoop*> LoopPool::choose_any() {
  if (!is_open_) return Interpreter::no_executor();
  AsyncLoop* best = nullptr;
  std::size_t usable = 0;
  for (const auto& loop : loops_) {
    if (loop->is_held_up()) continue;
    ++usable;
    if (best == nullptr || loop->load() < best->load()) best = loop.get();
  }
  if (best != nullptr && (usable >= options_.size || best->load() == 0)) return best;
  auto loop = std::make_unique<AsyncLoop>(
      observer_, AsyncLoop::Options{.id = static_cast<std::uint32_t>(loops_.size()),
                                    .stack_bytes = options_.stack_bytes});
  if (const auto started = loop->start(); !started.ok()) {
    if (best != nullptr) return best;
    return Error{.code = Errc::unsupported,
                 .message = "a loop for coroutines: " + started.error().message};
  }
  loops_.push_back(std::move(loop));
  return loops_.back().get();
}

Result<void> LoopPool::push(TaskState* task) {
  for (;;) {
    const auto loop = choose(task->coroutine->home());
    if (!loop.ok()) return loop.error();
    if ((*loop)->push(task)) return {};
  }
}

Shared<TaskState> LoopPool::take_oldest() {
  for (AsyncLoop* const loop : all()) {
    if (Shared<TaskState> task = loop->take_oldest()) return task;
  }
  return {};
}

void LoopPool::cancel_all() {
  for (AsyncLoop* const loop : all()) loop->cancel_all();
}

void LoopPool::pass_over(AsyncLoop& loop) {
  loop.hold_up();
  while (Shared<TaskState> task = loop.take_left()) {
    const auto pushed = push(task.get());
    if (pushed.ok()) {
      static_cast<void>(task.release());
    } else if (task->claim_before_start(Ending::failed)) {
      task->fail(pushed.error());
    }
  }
}

// ---- With the GIL ----

void LoopPool::interrupt_running(bool again) {
  for (AsyncLoop* const loop : all()) loop->interrupt_running(again);
}

std::vector<Shared<TaskState>> LoopPool::tasks() {
  std::vector<Shared<TaskState>> found;
  for (const AsyncLoop* const loop : all()) {
    for (Shared<TaskState>& task : loop->tasks()) found.push_back(std::move(task));
  }
  return found;
}

// ---- Statistics ----

void LoopPool::add_to(Stats& stats) {
  std::uint64_t ended = 0;
  std::uint64_t started = 0;
  const auto loops = all();
  for (const AsyncLoop* const loop : loops) {
    const WorkerCounts& counts = loop->counts();
    const std::uint64_t executed = counts.executed.get();
    const std::uint64_t failed = counts.failed.get();
    const std::uint64_t cancelled = counts.cancelled.get();
    const std::uint64_t timed_out = counts.timed_out.get();
    stats.tasks_executed += executed;
    stats.tasks_failed += failed;
    stats.cancelled += cancelled;
    stats.timed_out += timed_out;
    stats.interrupted += counts.interrupted.get();
    counts.add_times_to(stats);
    ended += executed + failed + cancelled + timed_out;
  }
  for (const AsyncLoop* const loop : loops) started += loop->counts().started.get();
  stats.running += started - ended;
}

}  // namespace unirun::python
