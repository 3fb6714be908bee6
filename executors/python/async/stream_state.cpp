#include "executors/python/async/stream_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "executors/python/async/stream_source.h"
#include "executors/python/calls/function_cache.h"
#include "executors/python/runtime.h"

namespace unirun::python {
namespace {

Error timed_out(Duration timeout) {
  return {.code = Errc::timeout,
          .message = fmt::format("the stream was to end within {} ms",
                                 std::chrono::duration<double, std::milli>(timeout).count())};
}

}  // namespace

StreamState::StreamState(const StreamOptions& options)
    : options_{.window = std::max<std::uint32_t>(options.window, 1),
               .batch = std::max<std::uint32_t>(options.batch, 1),
               .timeout = options.timeout} {}

void StreamState::start(CallSpec call) {
  if (auto wrong = FunctionCache::check(call.module, call.function)) return end(*std::move(wrong));
  if (options_.timeout && *options_.timeout <= Duration::zero())
    return end(timed_out(*options_.timeout));
  if (options_.timeout) {
    const TimerId timer = Runtime::get().call_later(
        *options_.timeout, [weak = weak_from_this(), timeout = *options_.timeout] {
          if (const auto state = weak.lock()) state->cancel(timed_out(timeout));
        });
    const std::lock_guard lock(mutex_);
    deadline_ = timer;
  }
  start_stream_source(shared_from_this(), std::move(call));
}

// ---- For the generator ----

void StreamState::wake_reader(std::unique_lock<std::mutex> lock) {
  const std::coroutine_handle<> reader = std::exchange(reader_, {});
  EventLoop* const loop = reader_loop_;
  lock.unlock();
  if (!reader) return;
  if (loop == nullptr) return reader.resume();
  loop->post([reader] { reader.resume(); });
}

StreamState::Room StreamState::put(Result<Value> item) {
  std::unique_lock lock(mutex_);
  if (cancelled_.load(std::memory_order_relaxed)) return Room::none;
  items_.push_back(std::move(item));
  const std::size_t unread = unread_.fetch_add(1) + 1;
  const bool is_turn_over = ++put_ % options_.batch == 0;
  wake_reader(std::move(lock));
  return is_turn_over || unread >= options_.window ? Room::pause : Room::more;
}

bool StreamState::wait_for_room(std::function<void()> go_on) {
  const std::lock_guard lock(mutex_);
  if (has_room() || cancelled_.load(std::memory_order_relaxed)) return false;
  go_on_ = std::move(go_on);
  return true;
}

void StreamState::end(std::optional<Error> error) {
  std::unique_lock lock(mutex_);
  if (std::exchange(ended_, true)) return;
  if (error) {
    items_.emplace_back(*std::move(error));
    unread_.fetch_add(1);
  }
  cancelled_.store(true, std::memory_order_release);
  const std::function<void()> dropped = std::exchange(go_on_, {});
  const TimerId deadline = std::exchange(deadline_, TimerId::none);
  const Shared<TaskState> source = std::exchange(source_, {});
  wake_reader(std::move(lock));
  if (deadline != TimerId::none) Runtime::get().cancel_call(deadline);
}

void StreamState::set_source(Shared<TaskState> source) {
  {
    const std::lock_guard lock(mutex_);
    if (!is_asked_) {
      if (!ended_ && !is_let_go_) source_ = std::move(source);
      return;
    }
  }
  Runtime::get().ask_to_end(source.get());
}

bool StreamState::let_source_go() {
  const std::lock_guard lock(mutex_);
  is_let_go_ = !is_asked_;
  return is_let_go_;
}

// ---- For the reader ----

bool StreamState::wait_for_items(std::coroutine_handle<> reader, EventLoop* loop) {
  const std::lock_guard lock(mutex_);
  if (!items_.empty() || ended_) return true;
  reader_ = reader;
  reader_loop_ = loop;
  return false;
}

std::deque<Result<Value>> StreamState::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(items_, {});
}

// The generator goes on when half of the window is free, so that both sides have something to do
// for a while.
void StreamState::read_one() {
  if (unread_.fetch_sub(1) - 1 != options_.window / 2) return;
  std::function<void()> go_on;
  {
    const std::lock_guard lock(mutex_);
    go_on.swap(go_on_);
  }
  if (go_on) go_on();
}

void StreamState::cancel(Error reason) {
  std::function<void()> go_on;
  Shared<TaskState> source;
  std::deque<Result<Value>> dropped;
  {
    const std::lock_guard lock(mutex_);
    dropped.swap(items_);
    if (cancelled_.exchange(true)) return;
    go_on.swap(go_on_);
    if (!is_let_go_) is_asked_ = true;
    if (is_asked_) source = source_;
  }
  end(std::move(reason));
  // One or the other: what was woken, and ended by itself, would be struck within its `finally`.
  if (source) return Runtime::get().ask_to_end(source.get());
  if (go_on) go_on();
}

}  // namespace unirun::python
