#include "framework/waiter.h"

#include <mutex>
#include <utility>

#include "framework/require.h"

namespace unirun {

struct Waiter::State {
  State(EventLoop& a_loop, std::coroutine_handle<> a_coroutine)
      : loop(a_loop), coroutine(a_coroutine) {
    if (loop.in_loop_thread()) occupant = loop.seat().occupant();
  }

  // On the loop.
  void resume() {
    const auto waiting = std::exchange(coroutine, nullptr);
    if (!waiting) return;
    const LoopSeat::Taken seat(loop.seat(), std::move(occupant));
    waiting.resume();
  }

  EventLoop& loop;
  std::coroutine_handle<> coroutine;  // The loop's; null once it goes on or has gone.
  std::shared_ptr<LoopOccupant> occupant;

  std::mutex mutex;  // Guards `woken`, and the loop's life against a waker's post.
  bool woken = false;
};

Waiter::~Waiter() {
  if (!state_) return;
  state_->coroutine = nullptr;
  const std::lock_guard lock(state_->mutex);
  state_->woken = true;
}

void Waiter::begin(std::coroutine_handle<> coroutine) {
  UNIRUN_REQUIRE(!state_);
  state_ = std::make_shared<State>(loop_, coroutine);
}

void Waiter::resume() {
  const auto held = state_;
  held->resume();
}

void Waiter::Waker::operator()() const {
  const std::lock_guard lock(state_->mutex);
  if (std::exchange(state_->woken, true)) return;
  state_->loop.post([state = state_] { state->resume(); });
}

}  // namespace unirun
