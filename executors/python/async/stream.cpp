#include "executors/python/async/stream.h"

#include "executors/python/async/stream_state.h"

namespace unirun::python {
namespace {

// Until there is something to take, or nothing comes any more.
class Items {
 public:
  explicit Items(StreamState& stream) : stream_(stream) {}
  [[nodiscard]] bool await_ready() const { return false; }
  // Another thread may resume the coroutine, and end its frame, before this returns. Not inlined:
  // clang before 17 would keep what this needs in that frame (LLVM 56301).
  [[nodiscard, gnu::noinline]] bool await_suspend(std::coroutine_handle<> reader) const {
    return !stream_.wait_for_items(reader, EventLoop::current());
  }
  void await_resume() const {}

 private:
  StreamState& stream_;
};

}  // namespace

Task<std::optional<Result<Value>>> Stream::next() {
  if (read_.empty()) {
    co_await Items(*state_);
    read_ = state_->take();
  }
  if (read_.empty()) co_return std::nullopt;
  std::optional<Result<Value>> item(std::move(read_.front()));
  read_.pop_front();
  state_->read_one();
  co_return item;
}

void Stream::cancel() {
  read_.clear();
  state_->cancel({.code = Errc::stream_closed, .message = "the stream was cancelled"});
}

}  // namespace unirun::python
