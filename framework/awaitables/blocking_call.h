// BlockingCall runs what would block the loop on a thread of its pool and gives what it returned or
// threw: auto text = co_await run_blocking(loop, [file] { return read(file); }, token).
//
// Thread: the loop's. A call that runs cannot be called off: after a cancellation, and after the
// coroutine's destruction, it runs to its end and its outcome is dropped. So the callable owns what
// it uses; it is destroyed on whichever thread lets go last.

#pragma once

#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "framework/cancellation.h"
#include "framework/waiter.h"

namespace unirun {

template <class Function>
class [[nodiscard]] BlockingCall {
 public:
  using Value = std::invoke_result_t<Function&>;

  BlockingCall(EventLoop& loop, Function function, CancellationToken token)
      : waiter_(loop),
        call_(std::make_shared<Call>(std::move(function))),
        token_(std::move(token)) {}
  BlockingCall(const BlockingCall&) = delete;
  BlockingCall& operator=(const BlockingCall&) = delete;

  [[nodiscard]] bool await_ready() const { return token_.is_cancellation_requested(); }
  void await_suspend(std::coroutine_handle<> waiting) {
    waiter_.begin(waiting);
    waiter_.loop().run_blocking([call = call_] { call->run(); },
                                [call = call_, wake = waiter_.waker()] {
                                  call->returned = true;
                                  wake();
                                });
    cancelled_ = token_.on_cancel(waiter_.waker());
  }
  Value await_resume() {
    if (!call_->returned) throw Cancelled();
    if (call_->failure) std::rethrow_exception(std::exchange(call_->failure, nullptr));
    if constexpr (!std::is_void_v<Value>) return std::move(*call_->value);
  }

 private:
  struct Nothing {};
  struct Call {
    explicit Call(Function a_function) : function(std::move(a_function)) {}
    void run() {
      try {
        if constexpr (std::is_void_v<Value>) {
          function();
        } else {
          value.emplace(function());
        }
      } catch (...) {
        failure = std::current_exception();
      }
    }
    Function function;
    std::optional<std::conditional_t<std::is_void_v<Value>, Nothing, Value>> value;
    std::exception_ptr failure;
    bool returned = false;  // The loop's.
  };

  Waiter waiter_;
  const std::shared_ptr<Call> call_;
  const CancellationToken token_;
  Registration cancelled_;
};

template <class Function>
BlockingCall<std::decay_t<Function>> run_blocking(EventLoop& loop, Function&& function,
                                                  CancellationToken token = {}) {
  return BlockingCall<std::decay_t<Function>>(loop, std::forward<Function>(function),
                                              std::move(token));
}

}  // namespace unirun
