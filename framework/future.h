// Promise and Future: the outcome of a task, later. What comes is a Result<T>: a value or an error.
//
// Thread: any; a promise and a future each belong to one owner at a time. Move-only. The outcome is
// set once and read once: by get(), or by the function given to on_ready().

#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "framework/doorbell.h"
#include "framework/require.h"
#include "framework/result.h"
#include "framework/time.h"

namespace unirun {

template <class T>
struct FutureState {
  std::mutex mutex;  // Guards the next three.
  std::optional<Result<T>> outcome;
  std::function<void(Result<T>)> on_ready;
  bool settled = false;
  Doorbell bell;

  [[nodiscard]] bool is_settled() {
    const std::lock_guard lock(mutex);
    return settled;
  }
};

template <class T>
class [[nodiscard]] Future {
 public:
  // A future of nothing: only assignment and valid() make sense.
  Future() = default;
  Future(Future&&) noexcept = default;
  Future& operator=(Future&&) noexcept = default;

  // False for a default one, and once its outcome has been asked for.
  [[nodiscard]] bool valid() const { return state_ != nullptr; }

  // REQUIRES, here and below: valid().
  [[nodiscard]] bool is_ready() const {
    UNIRUN_REQUIRE(valid());
    return state_->is_settled();
  }

  // True once the outcome is there, false after `timeout`.
  [[nodiscard]] bool wait_for(Duration timeout) const {
    UNIRUN_REQUIRE(valid());
    return state_->bell.wait(timeout, [this] { return state_->is_settled(); });
  }

  // Waits for the outcome, however long, and takes it.
  [[nodiscard]] Result<T> get() {
    UNIRUN_REQUIRE(valid());
    const auto state = std::exchange(state_, nullptr);
    while (!state->bell.wait(Duration::max(), [&] { return state->is_settled(); })) {
    }
    return std::move(*state->outcome);
  }

  // Hands the outcome to `function`, which must not throw: on the thread that settles the promise,
  // or here and now if that has happened. To get it on the loop, let `function` post().
  void on_ready(std::function<void(Result<T>)> function) {
    UNIRUN_REQUIRE(valid() && function != nullptr);
    const auto state = std::exchange(state_, nullptr);
    {
      const std::lock_guard lock(state->mutex);
      if (!state->settled) {
        state->on_ready = std::move(function);
        return;
      }
    }
    function(std::move(*state->outcome));
  }

 private:
  template <class>
  friend class Promise;
  explicit Future(std::shared_ptr<FutureState<T>> state) : state_(std::move(state)) {}

  std::shared_ptr<FutureState<T>> state_;
};

template <class T>
class Promise {
 public:
  Promise() : state_(std::make_shared<FutureState<T>>()) {}
  Promise(Promise&&) noexcept = default;
  Promise& operator=(Promise&& other) noexcept {
    Promise dropped(std::move(*this));
    state_ = std::move(other.state_);
    future_taken_ = other.future_taken_;
    return *this;
  }

  // A promise that is dropped before it is settled settles as cancelled: nobody waits for ever.
  ~Promise() {
    if (state_)
      settle(Error{Errc::cancelled, "the promise was dropped: nobody is left to keep it"});
  }

  // REQUIRES: the first call, on a promise that has not been settled or moved from.
  Future<T> future() {
    UNIRUN_REQUIRE(state_ && !std::exchange(future_taken_, true));
    return Future<T>(state_);
  }

  // Sets the outcome. REQUIRES: not settled before, nor moved from.
  void settle(Result<T> outcome) {
    UNIRUN_REQUIRE(state_);
    const auto state = std::exchange(state_, nullptr);
    std::function<void(Result<T>)> on_ready;
    {
      const std::lock_guard lock(state->mutex);
      state->outcome = std::move(outcome);
      state->settled = true;
      on_ready = std::exchange(state->on_ready, nullptr);
    }
    state->bell.ring();
    if (on_ready) on_ready(std::move(*state->outcome));
  }

 private:
  std::shared_ptr<FutureState<T>> state_;  // Nothing once settled.
  bool future_taken_ = false;
};

}  // namespace unirun
