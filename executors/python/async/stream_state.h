// StreamState is what two share of whom one makes items and the other reads them: the items between
// them, and who of both waits for the other.
//
// Thread: any.

#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "executors/python/async/stream.h"
#include "executors/python/error.h"
#include "executors/python/interpreter/forks.h"
#include "executors/python/tasks/task_state.h"
#include "framework/event_loop.h"
#include "framework/task.h"
#include "framework/timers.h"

namespace unirun::python {

// Whether there is room for another item.
enum class StreamRoom : std::uint8_t {
  more,   // There is.
  pause,  // Others shall have their turn now, or the reader.
  none,   // Nobody reads any more.
};

// What does not depend on the items: how a stream comes to its deadline, and its source to its end.
class StreamStateBase : public std::enable_shared_from_this<StreamStateBase> {
 public:
  StreamStateBase(const StreamStateBase&) = delete;
  StreamStateBase& operator=(const StreamStateBase&) = delete;

  // It was made before this process was forked off, and nobody here makes items: its reader is told
  // so once.
  [[nodiscard]] bool is_of_parent() const { return born_after_ != Forks::count(); }
  [[nodiscard]] bool has_told() { return std::exchange(has_told_, true); }

  // From now on the time of `call`, as messages name it, runs. False: it is up already, and that is
  // its end.
  [[nodiscard]] bool start_deadline(std::string call);

  // ---- For the source ----

  // What makes the items has begun to run.
  void begin() { has_begun_.store(true, std::memory_order_relaxed); }

  // False: there is room, and nothing to wait for. Else `go_on` is called, once, when there is room
  // again or nobody reads any more; on any thread.
  [[nodiscard]] bool wait_for_room(std::function<void()> go_on);
  [[nodiscard]] bool is_cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // What is to be asked to end when nobody reads any more.
  void set_source(Shared<TaskState> source);
  // What runs for it on a worker just now, and is not to outlive the deadline; nothing: nothing.
  void set_running(Shared<TaskState> running);
  // The source ends by itself, and must not be struck while it does. False: it is asked to.
  [[nodiscard]] bool let_source_go();
  // Nothing follows but this, and nobody asks for more.
  virtual void end(std::optional<Error> error) = 0;

  // ---- For the reader ----

  // One of the items was read.
  void read_one();
  // Drops what was not read. `reason` is read last.
  virtual void cancel(Error reason) = 0;

 protected:
  explicit StreamStateBase(const StreamOptions& options);
  virtual ~StreamStateBase() = default;

  // One more item is there.
  [[nodiscard]] StreamRoom count_item();
  // What is to be done after the lock when it ends.
  struct End {
    std::function<void()> dropped;  // Not called.
    std::function<void()> reader;
    Shared<TaskState> source;
    TimerId deadline = TimerId::none;
    void follow() const;
  };
  // REQUIRES: the lock; not ended.
  [[nodiscard]] End end_locked();
  // The part of cancel() before the end: what is to be asked to end, or called, afterwards.
  struct Cancellation {
    std::function<void()> go_on;
    Shared<TaskState> source;
    void follow() const;
  };
  // REQUIRES: the lock; not cancelled.
  [[nodiscard]] Cancellation cancel_locked();

  const StreamOptions options_;
  const std::uint32_t born_after_ = Forks::count();  // So many.
  bool has_told_ = false;
  std::atomic<std::size_t> unread_{0};
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> has_begun_{false};
  std::mutex mutex_;  // Guards the rest. Nothing of others is called under it.
  std::size_t put_ = 0;
  bool ended_ = false;
  std::function<void()> go_on_;   // The source waits.
  std::function<void()> reader_;  // The reader does.

 private:
  void come_to_deadline(const std::string& call);
  [[nodiscard]] bool has_room() const { return unread_.load() < options_.window; }
  [[nodiscard]] Error timed_out(const std::string& call);

  Shared<TaskState> source_;
  Shared<TaskState> running_;  // Where there is a deadline.
  bool is_asked_ = false;      // The source is, or will be once it is known.
  bool is_let_go_ = false;
  TimerId deadline_ = TimerId::none;
};

template <class Item>
class StreamState final : public StreamStateBase {
 public:
  using Items = std::deque<Result<Item>>;

  explicit StreamState(const StreamOptions& options) : StreamStateBase(options) {}

  [[nodiscard]] StreamRoom put(Result<Item> item) {
    std::unique_lock lock(mutex_);
    if (cancelled_.load(std::memory_order_relaxed)) return StreamRoom::none;
    items_.push_back(std::move(item));
    const StreamRoom room = count_item();
    const std::function<void()> reader = std::exchange(reader_, {});
    lock.unlock();
    if (reader) reader();
    return room;
  }

  void end(std::optional<Error> error) override {
    End after;
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      if (error) {
        items_.emplace_back(*std::move(error));
        unread_.fetch_add(1);
      }
      after = end_locked();
    }
    after.follow();
  }

  // True: there is something to take(), or it has ended. Else `wake` is called, once, when there
  // is; on any thread. Of two who wait the last counts.
  [[nodiscard]] bool wait_for_items(std::function<void()> wake) {
    const std::lock_guard lock(mutex_);
    if (!items_.empty() || ended_) return true;
    reader_ = std::move(wake);
    return false;
  }
  // All that is there; nothing: it has ended, or nobody has waited.
  [[nodiscard]] Items take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(items_, {});
  }

  void cancel(Error reason) override {
    Cancellation after;
    Items dropped;
    {
      const std::lock_guard lock(mutex_);
      dropped.swap(items_);
      if (cancelled_.exchange(true)) return;
      after = cancel_locked();
    }
    end(std::move(reason));
    after.follow();
  }

 private:
  Items items_;
};

// ---- Waiting in a coroutine of C++ ----

// Until `wait(go_on)` says that there is nothing to wait for (false), or calls `go_on`: on the loop
// that awaits, else on the thread that calls.
template <class Wait>
class [[nodiscard]] StreamWait {
 public:
  explicit StreamWait(Wait wait) : wait_(std::move(wait)) {}
  [[nodiscard]] bool await_ready() const { return false; }
  // Another thread may resume the coroutine, and end its frame, before this returns. Not inlined:
  // clang before 17 would keep what this needs in that frame (LLVM 56301).
  [[nodiscard, gnu::noinline]] bool await_suspend(std::coroutine_handle<> waiting) {
    EventLoop* const loop = EventLoop::current();
    return wait_([waiting, loop] {
      if (loop == nullptr) return waiting.resume();
      loop->post([waiting] { waiting.resume(); });
    });
  }
  void await_resume() const {}

 private:
  Wait wait_;
};

// The next item, by way of `read`, which holds those that were taken over and are still to be
// given; nothing at the end. Both outlive the task.
template <class Item>
Task<std::optional<Result<Item>>> next_item(StreamState<Item>& state,
                                            std::deque<Result<Item>>& read) {
  if (read.empty() && state.is_of_parent()) {
    if (state.has_told()) co_return std::nullopt;
    co_return Error{.code = Errc::not_initialized,
                    .message = "it is a stream of the process that this one was forked off"};
  }
  if (read.empty()) {
    co_await StreamWait([&state](auto wake) { return !state.wait_for_items(std::move(wake)); });
    read = state.take();
  }
  if (read.empty()) co_return std::nullopt;
  std::optional<Result<Item>> item(std::move(read.front()));
  read.pop_front();
  state.read_one();
  co_return item;
}

}  // namespace unirun::python
