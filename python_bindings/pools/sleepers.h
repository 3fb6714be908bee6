// Sleepers: the workers of an engine that have nothing to do, and how they are called.
//
// A worker that has found no task parks itself, with the engine's lock, lets go of the lock, and
// sleeps until it is called. Nobody sleeps with a deadline: on a virtual machine a timer that is
// armed and taken back for each task costs more than the task.
//
// Thread: with the engine's lock (for threads the GIL), but for Sleeper::sleep().

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "framework/futex.h"
#include "python_bindings/pools/pool_rendezvous.h"
#include "python_bindings/pools/wakes.h"

namespace unirun::bindings {

// One worker.
class Sleeper {
 public:
  // While it is parked: awake for a moment, where that pays, then asleep. True: it was called, and
  // counts as searching; false: it is not parked, and nobody called. REQUIRES: the GIL is not held.
  bool sleep(PoolRendezvous& rendezvous) {
    const auto is_up = [this] { return word_.load(std::memory_order_acquire) <= called; };
    if (!is_up() && !rendezvous.look(Side::worker, is_up)) {
      std::uint32_t before = looks;
      word_.compare_exchange_strong(before, sleeps, std::memory_order_acq_rel);
      while (!is_up()) futex_wait(word_, sleeps, nullptr);
      rendezvous.appear(Side::worker);
    }
    return word_.exchange(busy, std::memory_order_acq_rel) == called;
  }

 private:
  friend class Sleepers;
  enum State : std::uint32_t { busy, called, looks, sleeps };

  std::atomic<std::uint32_t> word_{busy};
  Sleeper* below_ = nullptr;  // Among the parked.
};

class Sleepers {
 public:
  // On top, to be called first, but for one that is still awake.
  void park(Sleeper& sleeper) {
    sleeper.word_.store(Sleeper::looks, std::memory_order_relaxed);
    const bool awake =
        top_ != nullptr && top_->word_.load(std::memory_order_relaxed) == Sleeper::looks;
    Sleeper*& above = awake ? top_->below_ : top_;
    sleeper.below_ = above;
    above = &sleeper;
    ++idle_;
  }

  // A worker that was parked and is about to do something else: nobody is to count on it, and if it
  // was called already, another one is.
  void excuse(Sleeper& sleeper, Wakes& wakes) {
    if (sleeper.word_.exchange(Sleeper::busy, std::memory_order_acq_rel) == Sleeper::called) {
      end_search();
      return call_if_needed(wakes);
    }
    for (Sleeper** at = &top_; *at != nullptr; at = &(*at)->below_) {
      if (*at != &sleeper) continue;
      *at = sleeper.below_;
      --idle_;
      return;
    }
  }

  // The one on top, the least asleep. It counts as searching from now on.
  // REQUIRES: idle() > 0.
  void call(Wakes& wakes) {
    Sleeper& sleeper = *top_;
    top_ = sleeper.below_;
    --idle_;
    ++searching_;
    if (sleeper.word_.exchange(Sleeper::called, std::memory_order_acq_rel) == Sleeper::sleeps)
      wakes.add(sleeper.word_);
  }
  void call_all(Wakes& wakes) {
    while (top_ != nullptr) call(wakes);
  }
  // For a task more: one, unless somebody searches already.
  void call_if_needed(Wakes& wakes) {
    if (searching_ == 0 && top_ != nullptr) call(wakes);
  }

  [[nodiscard]] std::size_t idle() const { return idle_; }
  // Called or started, and without a task yet.
  [[nodiscard]] std::size_t searching() const { return searching_; }
  void begin_search() { ++searching_; }
  void end_search() { --searching_; }

 private:
  Sleeper* top_ = nullptr;
  std::size_t idle_ = 0;
  std::size_t searching_ = 0;
};

}  // namespace unirun::bindings
