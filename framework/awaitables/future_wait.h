// FutureWait is the wait for a Future: Result<int> outcome = co_await outcome_of(loop,
// std::move(future), token). Whatever thread settles it, the coroutine goes on on the loop.
//
// Thread: the loop's. Throws Cancelled where cancellation comes before the outcome; the outcome is
// then dropped.

#pragma once

#include <atomic>
#include <coroutine>
#include <memory>
#include <optional>

#include "framework/cancellation.h"
#include "framework/future.h"
#include "framework/waiter.h"

namespace unirun {

template <class T>
class [[nodiscard]] FutureWait {
 public:
  FutureWait(EventLoop& loop, Future<T> future, CancellationToken token)
      : waiter_(loop), future_(std::move(future)), token_(std::move(token)) {
    UNIRUN_REQUIRE(future_.valid());
  }
  FutureWait(const FutureWait&) = delete;
  FutureWait& operator=(const FutureWait&) = delete;

  [[nodiscard]] bool await_ready() const {
    return future_.is_ready() || token_.is_cancellation_requested();
  }
  void await_suspend(std::coroutine_handle<> waiting) {
    waiter_.begin(waiting);
    delivery_ = std::make_shared<Delivery>();
    future_.on_ready([delivery = delivery_, wake = waiter_.waker()](Result<T> outcome) {
      delivery->outcome.emplace(std::move(outcome));
      delivery->arrived.store(true, std::memory_order_release);
      wake();
    });
    cancelled_ = token_.on_cancel(waiter_.waker());
  }
  Result<T> await_resume() {
    if (!delivery_ && future_.is_ready()) return future_.get();
    if (delivery_ && delivery_->arrived.load(std::memory_order_acquire)) {
      return std::move(*delivery_->outcome);
    }
    throw Cancelled();
  }

 private:
  // Where the thread that settles leaves the outcome, whether or not anybody still waits.
  struct Delivery {
    std::optional<Result<T>> outcome;
    std::atomic<bool> arrived{false};
  };

  Waiter waiter_;
  Future<T> future_;
  const CancellationToken token_;
  std::shared_ptr<Delivery> delivery_;
  Registration cancelled_;
};

// REQUIRES: future.valid().
template <class T>
FutureWait<T> outcome_of(EventLoop& loop, Future<T> future, CancellationToken token = {}) {
  return FutureWait<T>(loop, std::move(future), std::move(token));
}

}  // namespace unirun
