// Cancellation asks for an end; it never forces one. A CancellationSource asks, its tokens hear.
//
// Thread: any, for both. Source and tokens share one state, which lives as long as any of them.

#pragma once

#include <functional>
#include <memory>
#include <stdexcept>

#include "framework/registration.h"
#include "framework/time.h"

namespace unirun {

// Leaves CancellationToken::raise_if_cancelled(), and what it unwinds is the answer to the request.
class Cancelled : public std::runtime_error {
 public:
  Cancelled() : std::runtime_error("cancellation was requested") {}
};

class CancellationToken {
 public:
  // A token that nobody can cancel.
  CancellationToken() = default;

  [[nodiscard]] bool is_cancellation_requested() const;

  // True as soon as cancellation is requested, false after `timeout`.
  [[nodiscard]] bool wait(Duration timeout) const;

  // Throws Cancelled if cancellation is requested.
  void raise_if_cancelled() const;

  // Calls `callback` once, on the thread that requests cancellation, or here and now if that has
  // happened. When the registration has ended, the callback does not run and will not: ending it
  // waits for a callback that runs on another thread. `callback` must not throw.
  [[nodiscard]] Registration on_cancel(std::function<void()> callback) const;

 private:
  friend class CancellationSource;
  struct State;
  explicit CancellationToken(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
};

class CancellationSource {
 public:
  CancellationSource();

  [[nodiscard]] CancellationToken token() const { return CancellationToken(state_); }
  [[nodiscard]] bool is_cancellation_requested() const {
    return token().is_cancellation_requested();
  }

  // The first call wakes who waits and runs the callbacks, in the order of their registration;
  // the others do nothing.
  void request_cancellation();

 private:
  std::shared_ptr<CancellationToken::State> state_;
};

}  // namespace unirun
