#include "executors/python/tasks/deadlines.h"

#include <atomic>
#include <utility>

#include "executors/python/tasks/own_thread.h"
#include "framework/clock.h"

namespace unirun::python {

unirun::Result<TimerId> Deadlines::start(Instant deadline, std::function<void()> on_due) {
  TimerId timer{};
  bool is_first = false;
  {
    const std::lock_guard lock(mutex_);
    if (!is_open_) return unirun::Error{.message = "the executor has been shut down"};
    if (!thread_) {
      auto thread = ServiceThread::start("py-deadlines", [this] { run(); });
      if (!thread.ok()) return thread.error();
      thread_.emplace(std::move(*thread));
    }
    timer = queue_.start(deadline, std::move(on_due));
    is_first = deadline < awake_at_;
  }
  if (is_first) bell_.ring();
  return timer;
}

void Deadlines::cancel(TimerId timer) {
  const std::lock_guard lock(mutex_);
  queue_.cancel(timer);
}

void Deadlines::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_open_ = false;
    if (!thread_) return;
    ending_ = true;
  }
  bell_.ring();
  ended_.wait(Duration::max(), [this] { return has_ended_.load(); });
  while (!thread_->try_join()) {
  }
  const std::lock_guard lock(mutex_);
  thread_.reset();
  queue_ = {};
  ending_ = false;
  has_ended_ = false;
  awake_at_ = Instant::max();
}

void Deadlines::open() {
  const std::lock_guard lock(mutex_);
  is_open_ = true;
}

bool Deadlines::run_due() {
  std::function<void()> on_due;
  {
    const std::lock_guard lock(mutex_);
    const TimerId timer = queue_.take_due(SystemClock().now());
    if (timer == TimerId::none) return false;
    on_due = queue_.claim(timer);
  }
  if (on_due) on_due();
  return true;
}

void Deadlines::run() {
  const OwnThread mark;
  for (;;) {
    while (run_due()) {
    }
    Instant next{};
    const auto is_called = [&] {
      const std::lock_guard lock(mutex_);
      const bool changed = queue_.next_deadline() < next;
      next = awake_at_ = queue_.next_deadline();
      return changed || ending_;
    };
    next = Instant::min();
    const Instant now = SystemClock().now();
    static_cast<void>(is_called());
    const Duration rest = next == Instant::max() ? Duration::max() : next - now;
    bell_.wait(rest, is_called);
    const std::lock_guard lock(mutex_);
    if (ending_) break;
  }
  has_ended_ = true;
  ended_.ring();
}

}  // namespace unirun::python
