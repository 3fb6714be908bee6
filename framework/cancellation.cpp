#include "framework/cancellation.h"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>

#include "framework/doorbell.h"
#include "framework/require.h"

namespace unirun {

// Not std::stop_token: it promises no order of callbacks, and its waits need a lock of their own.
// Every service that does nothing has one of these and a callback: both are kept small.
struct CancellationToken::State {
  struct Callback {
    enum class Stage : std::uint8_t { waiting, running, finished };

    std::function<void()> function;
    std::atomic<Stage> stage{Stage::waiting};
    std::shared_ptr<Callback> next;  // Guarded by the state's `mutex`, with the other.
    Callback* previous = nullptr;
  };

  State() = default;
  ~State() {
    while (first) take(*first);  // One by one: a chain of owners would end in as many calls.
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  std::atomic<bool> requested{false};
  Doorbell bell;
  std::mutex mutex;
  std::shared_ptr<Callback> first;  // The latest, until the request. Guarded by `mutex`.
  std::thread::id requester;        // Too.

  void request();
  void remove(Callback& callback);
  void add(std::shared_ptr<Callback> callback);
  void reverse();
  std::shared_ptr<Callback> take(Callback& callback);
};

void CancellationToken::State::add(std::shared_ptr<Callback> callback) {
  if (first) first->previous = callback.get();
  callback->next = std::exchange(first, callback);
}

std::shared_ptr<CancellationToken::State::Callback> CancellationToken::State::take(
    Callback& callback) {
  std::shared_ptr<Callback>& place = callback.previous != nullptr ? callback.previous->next : first;
  std::shared_ptr<Callback> taken = std::move(place);
  place = std::move(taken->next);
  if (place) place->previous = taken->previous;
  taken->previous = nullptr;
  return taken;
}

// The oldest first, from now on: none is added any more.
void CancellationToken::State::reverse() {
  std::shared_ptr<Callback> latest_first = std::move(first);
  first = nullptr;
  while (latest_first) {
    std::shared_ptr<Callback> rest = std::move(latest_first->next);
    latest_first->previous = nullptr;
    add(std::exchange(latest_first, std::move(rest)));
  }
}

void CancellationToken::State::request() {
  std::unique_lock lock(mutex);
  if (requested.exchange(true, std::memory_order_acq_rel)) return;
  requester = std::this_thread::get_id();
  bell.ring();
  reverse();
  while (first) {
    const std::shared_ptr<Callback> callback = take(*first);
    callback->stage = Callback::Stage::running;
    lock.unlock();
    callback->function();
    callback->stage = Callback::Stage::finished;
    callback->stage.notify_all();
    lock.lock();
  }
}

void CancellationToken::State::remove(Callback& callback) {
  {
    const std::lock_guard lock(mutex);
    if (callback.stage == Callback::Stage::waiting) {
      take(callback);
      return;
    }
    if (requester == std::this_thread::get_id()) return;  // Else it would wait for itself.
  }
  callback.stage.wait(Callback::Stage::running);
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
      state_->add(kept);
      return Registration([kept, weak = std::weak_ptr<State>(state_)] {
        if (const auto state = weak.lock()) state->remove(*kept);
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
