#include "executors/python/async/stream_state.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include <algorithm>

#include "executors/python/runtime.h"
#include "executors/python/tasks/task_calls.h"

namespace unirun::python {

StreamStateBase::StreamStateBase(const StreamOptions& options)
    : options_{.window = std::max<std::uint32_t>(options.window, 1),
               .batch = std::max<std::uint32_t>(options.batch, 1),
               .timeout = options.timeout} {}

Error StreamStateBase::timed_out(const std::string& call) {
  const Duration timeout = *options_.timeout;
  if (timeout <= Duration::zero()) return python::timed_out(call, timeout, Progress::refused);
  if (!has_begun_.load()) return python::timed_out(call, timeout, Progress::queued);
  Error error = python::timed_out(call, timeout, Progress::running);
  const std::lock_guard lock(mutex_);
  error.message += fmt::format("; it had given {} items", put_);
  return error;
}

bool StreamStateBase::start_deadline(std::string call) {
  if (!options_.timeout) return true;
  if (*options_.timeout <= Duration::zero()) {
    end(timed_out(call));
    return false;
  }
  const TimerId timer = Runtime::get().call_later(
      *options_.timeout, [weak = weak_from_this(), call = std::move(call)] {
        if (const auto state = weak.lock()) state->come_to_deadline(call);
      });
  const std::lock_guard lock(mutex_);
  deadline_ = timer;
  return true;
}

// The reader hears of it at once, and what does not end by itself is made to.
void StreamStateBase::come_to_deadline(const std::string& call) {
  Shared<TaskState> running;
  {
    const std::lock_guard lock(mutex_);
    running = running_ ? running_ : source_;
  }
  cancel(timed_out(call));
  if (running) Runtime::get().time_out(*running, *options_.timeout);
}

// ---- For the source ----

StreamRoom StreamStateBase::count_item() {
  const std::size_t unread = unread_.fetch_add(1) + 1;
  const bool is_turn_over = ++put_ % options_.batch == 0;
  return is_turn_over || unread >= options_.window ? StreamRoom::pause : StreamRoom::more;
}

bool StreamStateBase::wait_for_room(std::function<void()> go_on) {
  const std::lock_guard lock(mutex_);
  if (has_room() || cancelled_.load(std::memory_order_relaxed)) return false;
  go_on_ = std::move(go_on);
  return true;
}

void StreamStateBase::set_source(Shared<TaskState> source) {
  {
    const std::lock_guard lock(mutex_);
    if (!is_asked_) {
      if (!ended_ && !is_let_go_) source_ = std::move(source);
      return;
    }
  }
  Runtime::get().ask_to_end(source.get());
}

void StreamStateBase::set_running(Shared<TaskState> running) {
  if (!options_.timeout) return;
  const std::lock_guard lock(mutex_);
  std::swap(running_, running);
}

bool StreamStateBase::let_source_go() {
  const std::lock_guard lock(mutex_);
  is_let_go_ = !is_asked_;
  return is_let_go_;
}

// ---- For the reader ----

// The source goes on when half of the window is free, so that both sides have something to do for a
// while.
void StreamStateBase::read_one() {
  if (unread_.fetch_sub(1) - 1 != options_.window / 2) return;
  std::function<void()> go_on;
  {
    const std::lock_guard lock(mutex_);
    go_on.swap(go_on_);
  }
  if (go_on) go_on();
}

// ---- The end ----

StreamStateBase::End StreamStateBase::end_locked() {
  ended_ = true;
  cancelled_.store(true, std::memory_order_release);
  return {.dropped = std::exchange(go_on_, {}),
          .reader = std::exchange(reader_, {}),
          .source = std::exchange(source_, {}),
          .deadline = std::exchange(deadline_, TimerId::none)};
}

void StreamStateBase::End::follow() const {
  if (reader) reader();
  if (deadline != TimerId::none) Runtime::get().cancel_call(deadline);
}

StreamStateBase::Cancellation StreamStateBase::cancel_locked() {
  Cancellation after{.go_on = std::exchange(go_on_, {}), .source = {}};
  if (!is_let_go_) is_asked_ = true;
  if (is_asked_) after.source = source_;
  return after;
}

// One or the other: what was woken, and ended by itself, would be struck within its `finally`.
void StreamStateBase::Cancellation::follow() const {
  if (source) return Runtime::get().ask_to_end(source.get());
  if (go_on) go_on();
}

}  // namespace unirun::python
