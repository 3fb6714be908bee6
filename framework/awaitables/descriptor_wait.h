// DescriptorWait is the wait until a descriptor can be read or written:
// Interest seen = co_await ready(loop, fd, Interest::readable, token).
//
// Thread: the loop's. Watches only as long as it waits; the descriptor becomes non-blocking, is
// watched by nobody else meanwhile, and is closed only afterwards. Throws Cancelled, and
// std::runtime_error for what cannot be watched: not open, watched already, a regular file.

#pragma once

#include <coroutine>
#include <stdexcept>

#include "framework/cancellation.h"
#include "framework/waiter.h"

namespace unirun {

class [[nodiscard]] DescriptorWait {
 public:
  DescriptorWait(EventLoop& loop, int descriptor, Interest interest, CancellationToken token)
      : waiter_(loop), descriptor_(descriptor), interest_(interest), token_(std::move(token)) {}
  DescriptorWait(const DescriptorWait&) = delete;
  DescriptorWait& operator=(const DescriptorWait&) = delete;

  [[nodiscard]] bool await_ready() const { return token_.is_cancellation_requested(); }
  void await_suspend(std::coroutine_handle<> waiting) {
    Result<Watch> watch =
        waiter_.loop().try_watch(descriptor_, interest_, [this](Interest seen) { on_ready(seen); });
    if (!watch) throw std::runtime_error(watch.error().message);
    watch_ = *std::move(watch);
    waiter_.begin(waiting);
    cancelled_ = token_.on_cancel(waiter_.waker());
  }
  Interest await_resume() {
    watch_.reset();
    token_.raise_if_cancelled();
    return seen_;
  }

 private:
  void on_ready(Interest seen) {
    seen_ = seen;
    waiter_.resume();
  }

  Waiter waiter_;
  const int descriptor_;
  const Interest interest_;
  const CancellationToken token_;
  Interest seen_{};
  Watch watch_;
  Registration cancelled_;
};

inline DescriptorWait ready(EventLoop& loop, int descriptor, Interest interest,
                            CancellationToken token = {}) {
  return DescriptorWait(loop, descriptor, interest, std::move(token));
}

}  // namespace unirun
