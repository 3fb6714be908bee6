// Stream is what a Python generator gives, item by item: of a generator function or whatever else
// gives an iterable, on a worker; of an asynchronous one, on a loop of asyncio's. It runs ahead of
// its reader by a window, and then pauses, holding up neither its worker nor its loop.
//
//   Stream lines = PythonExecutor::stream("feed", "lines", {"a.txt"});
//   while (auto line = co_await lines.next()) { if (line->ok()) use(**line); }
//
// Thread: any, each Stream one at a time. Move-only. One that is dropped is cancelled.

#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "executors/python/calls/call_spec.h"
#include "executors/python/error.h"
#include "framework/event_loop.h"
#include "framework/task.h"

namespace unirun::python {

template <class Item>
class StreamState;

struct StreamOptions {
  std::uint32_t window = 64;  // So many items may have been made and not been read; at least 1.
  std::uint32_t batch = 16;   // After so many others have their turn; at least 1.
  std::optional<Duration> timeout{};  // For the whole.
};

class [[nodiscard]] Stream {
 public:
  explicit Stream(std::shared_ptr<StreamState<Value>> state) : state_(std::move(state)) {}
  Stream(Stream&&) noexcept = default;
  Stream& operator=(Stream&& other) noexcept {
    std::swap(state_, other.state_);
    std::swap(read_, other.read_);
    return *this;
  }
  ~Stream() {
    if (state_) cancel();
  }

  // The next item; an Error, after which nothing comes: what the generator has raised, `timeout`,
  // `conversion` of what cannot be iterated, or those of PythonExecutor::call(); nothing at the
  // end. Goes on on the loop that awaits, or, where there is none, on the thread that brings the
  // item. One at a time.
  Task<std::optional<Result<Value>>> next();

  // Calls `function` with each item. Gives the error with which it ended, if it did.
  template <class Function>
  Task<Result<void>> for_each(Function function) {
    for (;;) {
      std::optional<Result<Value>> item = co_await next();
      if (!item) co_return Result<void>();
      if (!item->ok()) co_return item->error();
      function(*std::move(*item));
    }
  }

  // Has the generator closed, as Python's close() and aclose() do, after the step that it takes
  // just now. What was made and not read is dropped; next() gives `stream_closed`, then nothing.
  void cancel();

 private:
  std::shared_ptr<StreamState<Value>> state_;
  std::deque<Result<Value>> read_;  // Taken over, and still to be given.
};

}  // namespace unirun::python
