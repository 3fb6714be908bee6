// Sleep is time that passes: co_await sleep_for(loop, 200ms, token). It is a timer of the loop,
// never early; a cancellation ends it at once, as Cancelled.
//
// Thread: the loop's.

#pragma once

#include <coroutine>

#include "framework/cancellation.h"
#include "framework/waiter.h"

namespace unirun {

class [[nodiscard]] Sleep {
 public:
  Sleep(EventLoop& loop, Instant until, CancellationToken token)
      : waiter_(loop), until_(until), token_(std::move(token)) {}
  ~Sleep() { waiter_.loop().cancel_timer(timer_); }
  Sleep(const Sleep&) = delete;
  Sleep& operator=(const Sleep&) = delete;

  [[nodiscard]] bool await_ready() const { return token_.is_cancellation_requested(); }
  void await_suspend(std::coroutine_handle<> waiting) {
    waiter_.begin(waiting);
    timer_ = waiter_.loop().start_timer(until_, [this] { waiter_.resume(); });
    cancelled_ = token_.on_cancel(waiter_.waker());
  }
  void await_resume() const { token_.raise_if_cancelled(); }

 private:
  Waiter waiter_;
  const Instant until_;
  const CancellationToken token_;
  TimerId timer_ = TimerId::none;
  Registration cancelled_;
};

// A moment that is past is the next turn; Instant::max() is never.
inline Sleep sleep_until(EventLoop& loop, Instant until, CancellationToken token = {}) {
  return Sleep(loop, until, std::move(token));
}

inline Sleep sleep_for(EventLoop& loop, Duration duration, CancellationToken token = {}) {
  const Instant now = loop.clock().now();
  const Instant until = duration < Instant::max() - now ? now + duration : Instant::max();
  return Sleep(loop, until, std::move(token));
}

}  // namespace unirun
