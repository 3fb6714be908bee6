// CancellationWait is the wait for a cancellation: co_await cancelled(loop, token). It returns; it
// does not throw.
//
// Thread: the loop's; the request may come from any.

#pragma once

#include <coroutine>

#include "framework/cancellation.h"
#include "framework/waiter.h"

namespace unirun {

class [[nodiscard]] CancellationWait {
 public:
  CancellationWait(EventLoop& loop, CancellationToken token)
      : waiter_(loop), token_(std::move(token)) {}
  CancellationWait(const CancellationWait&) = delete;
  CancellationWait& operator=(const CancellationWait&) = delete;

  [[nodiscard]] bool await_ready() const { return token_.is_cancellation_requested(); }
  void await_suspend(std::coroutine_handle<> waiting) {
    waiter_.begin(waiting);
    requested_ = token_.on_cancel(waiter_.waker());
  }
  void await_resume() const noexcept {}

 private:
  Waiter waiter_;
  const CancellationToken token_;
  Registration requested_;
};

// A token that nobody can cancel is waited for until the coroutine is destroyed.
inline CancellationWait cancelled(EventLoop& loop, CancellationToken token) {
  return CancellationWait(loop, std::move(token));
}

}  // namespace unirun
