#include "executors/python/async/async_loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "executors/python/interpreter/graveyard.h"
#include "executors/python/interpreter/main_thread.h"
#include "executors/python/interpreter/python_thread.h"
#include "framework/clock.h"

namespace unirun::python {

AsyncLoop::~AsyncLoop() {
  if (bell_ >= 0) ::close(bell_);
}

// ---- For the owner ----

unirun::Status AsyncLoop::start() {
  bell_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (bell_ < 0) return unirun::Error::from_errno(errno, "eventfd() for a loop of asyncio's");
  auto thread = ServiceThread::start(
      "py-loop-" + std::to_string(options_.id), [this] { live(); }, options_.stack_bytes);
  if (!thread.ok()) return thread.error();
  thread_.emplace(std::move(*thread));
  return {};
}

void AsyncLoop::dismiss() {
  queue_.close();
  dismissed_.store(true);
  post_stop();
}

void AsyncLoop::post_stop() {
  post([this] {
    if (asyncio().is_open()) asyncio().stop();
  });
}

bool AsyncLoop::join(Instant deadline) {
  if (!thread_) return true;
  const Duration rest =
      deadline == Instant::max() ? Duration::max() : deadline - SystemClock().now();
  if (!end_.wait(rest, [this] { return ended_.load(); })) return false;
  while (!thread_->try_join()) {
  }
  thread_.reset();
  return true;
}

void AsyncLoop::abandon() {
  abandoned_ = true;
  dismiss();
  if (thread_) thread_->detach();
  thread_.reset();
}

// ---- For all ----

// Whoever goes to sleep says so first and then looks once more; whoever has something for it says
// so first and then looks whether it sleeps.
void AsyncLoop::wake() {
  if (!asleep_.exchange(false)) return;
  const std::uint64_t once = 1;
  static_cast<void>(::write(bell_, &once, sizeof once));
}

bool AsyncLoop::push(TaskState* task) {
  const PythonTaskQueue::Pushed pushed = queue_.push(task);
  if (pushed == PythonTaskQueue::Pushed::first) wake();
  if (pushed != PythonTaskQueue::Pushed::closed) return true;
  load_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

Shared<TaskState> AsyncLoop::take_left() {
  Shared<TaskState> task = queue_.pop();
  if (task) load_.fetch_sub(1, std::memory_order_relaxed);
  return task;
}

Shared<TaskState> AsyncLoop::take_oldest() {
  Shared<TaskState> task = queue_.pop_oldest();
  if (task) load_.fetch_sub(1, std::memory_order_relaxed);
  return task;
}

// ---- With the GIL ----

bool AsyncLoop::interrupt(const TaskState& task) {
  // What cannot be struck now is asked again by whoever asks.
  return running_.strike(task) == RunningTask::Strike::struck;
}

void AsyncLoop::interrupt_running(bool again) {
  const Shared<TaskState> task = running_.find_to_end(again);
  if (task && running_.strike(*task) == RunningTask::Strike::not_now) task->looks_at_end = 1;
}

// ---- Its life ----

void AsyncLoop::live() {
  const Turn all_its_life(*this);
  PythonThread& thread = PythonThread::current();
  if (thread.attach()) {
    running_.settle_in();
    if (open_for_whoever_comes()) {
      asyncio().run();
      asyncio().close();
    }
    settle_what_is_left();
    drop();
    thread.leave();
  }
  ended_.store(true);
  end_.ring();
}

// What it lacks, a descriptor or memory, fails those who wait now, and may be there when the next
// comes. False: it was dismissed.
bool AsyncLoop::open_for_whoever_comes() {
  while (!open()) {
    do {
      static_cast<void>(serve());
      if (dismissed_.load() && queue_.is_empty()) return false;
    } while (!queue_.is_empty());
    static_cast<void>(wait(-1, Instant::max()));
  }
  if (dismissed_.load()) post_stop();  // What was posted before has found nothing to stop.
  return true;
}

// ---- Its work ----

bool AsyncLoop::serve() {
  held_up_.store(false, std::memory_order_relaxed);
  run_posted();
  unsigned begun = 0;
  while (Shared<TaskState> task = queue_.pop()) {
    begin_or_pass_on(std::move(task));
    if (++begun == tasks_per_turn) return has_work();
  }
  return false;
}

bool AsyncLoop::has_work() { return has_posted() || !queue_.is_empty(); }

bool AsyncLoop::wait(int descriptor, Instant until) {
  std::array<pollfd, 2> watched{{{bell_, POLLIN, 0}, {descriptor, POLLIN, 0}}};
  if (until == Instant{}) {
    ::poll(&watched[1], 1, 0);
    return watched[1].revents != 0;
  }
  asleep_.store(true);
  if (has_work()) {
    asleep_.store(false);
    return false;
  }
  PyThreadState* const state = PyEval_SaveThread();
  const Duration rest = until == Instant::max() ? Duration::max() : until - SystemClock().now();
  const timespec timeout = as_timespec(Instant{std::max(rest, Duration::zero())});
  ::ppoll(watched.data(), watched.size(), until == Instant::max() ? nullptr : &timeout, nullptr);
  if (!asleep_.exchange(false)) {
    std::uint64_t rings = 0;
    static_cast<void>(::read(bell_, &rings, sizeof rings));
  }
  const Instant asked = SystemClock().now();
  MainThread::take_gil(state);
  counts_.gil_wait.record(SystemClock().now() - asked);
  Graveyard::clear();
  return watched[1].revents != 0;
}

void AsyncLoop::begin_or_pass_on(Shared<TaskState> task) {
  if (asyncio().is_open() && !task->coroutine->belongs_on_loop(task)) {
    load_.fetch_sub(1, std::memory_order_relaxed);
  } else {
    begin(std::move(task));
  }
}

void AsyncLoop::let_go(TaskState& /*task*/) { load_.fetch_sub(1, std::memory_order_relaxed); }

}  // namespace unirun::python
