#include "executors/python/async/stream.h"

#include "executors/python/async/stream_state.h"

namespace unirun::python {

Task<std::optional<Result<Value>>> Stream::next() { return next_item(*state_, read_); }

void Stream::cancel() {
  read_.clear();
  if (state_->is_of_parent()) return;
  state_->cancel({.code = Errc::stream_closed, .message = "the stream was cancelled"});
}

}  // namespace unirun::python
