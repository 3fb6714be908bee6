#include "framework/cancellation.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "framework/doorbell.h"
#include "framework/require.h"

namespace unirun {

// Not std::stop_token: it promises no order of callbacks, and its waits need a lock of their own.
struct CancellationToken::State {
  struct Callback {
    std::function<void()> function;
    enum class Stage { waiting, running, finished } stage = Stage::waiting;
  };

  std::atomic<bool> requested{false};
  Doorbell bell;
  std::mutex mutex;
  std::condition_variable finished;
  std::list<std::shared_ptr<Callback>> callbacks;  // Guarded by `mutex`, with their stages.
  std::thread::id requester;                       // Too.

  void request();
  void remove(const std::shared_ptr<Callback>& callback);
};

void CancellationToken::State::request() {
  std::unique_lock lock(mutex);
  if (requested.exchange(true, std::memory_order_acq_rel)) return;
  requester = std::this_thread::get_id();
  bell.ring();
  while (!callbacks.empty()) {
    const std::shared_ptr<Callback> callback = std::move(callbacks.front());
    callbacks.pop_front();
    callback->stage = Callback::Stage::running;
    lock.unlock();
    callback->function();
    lock.lock();
    callback->stage = Callback::Stage::finished;
    finished.notify_all();
  }
}

void CancellationToken::State::remove(const std::shared_ptr<Callback>& callback) {
  std::unique_lock lock(mutex);
  if (callback->stage == Callback::Stage::waiting) {
    callbacks.remove(callback);
  } else if (requester != std::this_thread::get_id()) {  // Else it would wait for itself.
    finished.wait(lock, [&] { return callback->stage == Callback::Stage::finished; });
  }
}

bool CancellationToken::is_cancellation_requested() const {
  return state_ && state_->requested.load(std::memory_order_acquire);
}

bool CancellationToken::wait(Duration timeout) const {
  static const std::shared_ptr<State> never = std::make_shared<State>();
  const State& state = state_ ? *state_ : *never;
  return state.bell.wait(timeout, [this] { return is_cancellation_requested(); });
}

void CancellationToken::raise_if_cancelled() const {
  if (is_cancellation_requested()) throw Cancelled();
}

Registration CancellationToken::on_cancel(std::function<void()> callback) const {
  UNIRUN_REQUIRE(callback != nullptr);
  if (!state_) return {};
  auto kept = std::make_shared<State::Callback>();
  kept->function = std::move(callback);
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->requested.load(std::memory_order_relaxed)) {
      state_->callbacks.push_back(kept);
      return Registration([kept, weak = std::weak_ptr<State>(state_)] {
        if (const auto state = weak.lock()) state->remove(kept);
      });
    }
  }
  kept->function();
  return {};
}

CancellationSource::CancellationSource() : state_(std::make_shared<CancellationToken::State>()) {}

void CancellationSource::request_cancellation() {
  const auto held = state_;  // A callback may let go of this source.
  held->request();
}

}  // namespace unirun
