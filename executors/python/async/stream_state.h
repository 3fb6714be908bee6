// StreamState is what a Stream and the generator behind it share: the items between them, and who
// of both waits for the other.
//
// Thread: any.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "executors/python/async/stream.h"
#include "executors/python/error.h"
#include "executors/python/tasks/task_state.h"
#include "executors/python/values/ref.h"
#include "framework/timers.h"

namespace unirun::python {

class StreamState : public std::enable_shared_from_this<StreamState> {
 public:
  explicit StreamState(const StreamOptions& options);
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;

  // Begins. REQUIRES: once.
  void start(CallSpec call);

  // ---- For the generator ----

  enum class Room : std::uint8_t {
    more,   // For another item.
    pause,  // Others shall have their turn now, or the reader.
    none,   // Nobody reads any more.
  };
  [[nodiscard]] Room put(Result<Value> item);
  // False: there is room, and nothing to wait for. Else `go_on` is called, once, when there is room
  // again or nobody reads any more; on any thread.
  [[nodiscard]] bool wait_for_room(std::function<void()> go_on);
  // Nothing follows but this, and nobody asks for more.
  void end(std::optional<Error> error);
  [[nodiscard]] bool is_cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // What is to be asked to end when nobody reads any more.
  void set_source(Shared<TaskState> source);
  // The source ends by itself, and must not be struck while it does. False: it is asked to.
  [[nodiscard]] bool let_source_go();

  // ---- For the reader ----

  // True: there is something to take(), or it has ended. Else `reader` is resumed when there is.
  [[nodiscard]] bool wait_for_items(std::coroutine_handle<> reader, EventLoop* loop);
  // All that is there.
  [[nodiscard]] std::deque<Result<Value>> take();
  // One of them was read.
  void read_one();
  void cancel(Error reason);

 private:
  void wake_reader(std::unique_lock<std::mutex> lock);
  [[nodiscard]] bool has_room() const { return unread_.load() < options_.window; }

  const StreamOptions options_;
  std::atomic<std::size_t> unread_{0};
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;  // Guards the rest. Nothing of others is called under it.
  std::deque<Result<Value>> items_;
  std::size_t put_ = 0;
  bool ended_ = false;
  std::function<void()> go_on_;       // The generator waits.
  std::coroutine_handle<> reader_;    // The reader does,
  EventLoop* reader_loop_ = nullptr;  // to go on there.
  Shared<TaskState> source_;
  bool is_asked_ = false;  // The source is, or will be once it is known.
  bool is_let_go_ = false;
  TimerId deadline_ = TimerId::none;
};

}  // namespace unirun::python
