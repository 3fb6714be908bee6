// LoopTurn goes on in a turn of the loop: co_await on_loop(loop) comes there from another thread,
// co_await next_turn(loop, token) lets everything else that is ready go first.

#pragma once

#include <coroutine>

#include "framework/cancellation.h"
#include "framework/waiter.h"

namespace unirun {

class [[nodiscard]] LoopTurn {
 public:
  enum class Skip { never, on_loop_thread };

  LoopTurn(EventLoop& loop, Skip skip, CancellationToken token)
      : waiter_(loop), skip_(skip), token_(std::move(token)) {}
  LoopTurn(const LoopTurn&) = delete;
  LoopTurn& operator=(const LoopTurn&) = delete;

  [[nodiscard]] bool await_ready() const {
    return skip_ == Skip::on_loop_thread && waiter_.loop().in_loop_thread();
  }
  // Another thread's coroutine may go on, and its frame be gone, before wake() returns. Not
  // inlined: clang before 17 would keep `wake` in that frame (LLVM 56301).
  [[gnu::noinline]] void await_suspend(std::coroutine_handle<> waiting) {
    waiter_.begin(waiting);
    const Waiter::Waker wake = waiter_.waker();
    wake();
  }
  void await_resume() const { token_.raise_if_cancelled(); }

 private:
  Waiter waiter_;
  const Skip skip_;
  const CancellationToken token_;
};

// Goes on on the loop thread; at once where it is there already. Thread: any.
inline LoopTurn on_loop(EventLoop& loop) {
  return LoopTurn(loop, LoopTurn::Skip::on_loop_thread, {});
}

// Thread: the loop's. Throws Cancelled afterwards if cancellation was requested.
inline LoopTurn next_turn(EventLoop& loop, CancellationToken token = {}) {
  return LoopTurn(loop, LoopTurn::Skip::never, std::move(token));
}

}  // namespace unirun
