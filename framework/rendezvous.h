// Rendezvous: where a caller and a worker that run on two CPUs await each other without going to
// sleep, for to wake a thread on another CPU takes many times longer than a small task.
//
// Whoever would fall asleep first looks for what it waits for, at most for 50 us, and only
//  - if whom it waits for was last seen on another CPU: on its own it would be in the way;
//  - if looking has paid lately: else it tries more and more seldom;
//  - if nobody else on its side looks: one of each side is enough.
// Both sides have to, or little is gained. So a program that keeps its workers idle, or computes
// between two tasks, loses a few looks; one that is bound to one CPU none at all.
//
// Thread: any. All but the event itself is advice: to be wrong costs time, and not more than that.

#pragma once

#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "framework/clock.h"

namespace unirun {

enum class Side : std::size_t { caller, worker };

class Rendezvous {
 public:
  static constexpr auto longest_look = std::chrono::microseconds(50);

  // In a child of fork(): who looked is not there.
  void forget() {
    for (Looking& side : sides_) side.somebody.store(false, std::memory_order_relaxed);
  }

  // This thread, of that side, runs here.
  void appear(Side side, int here = ::sched_getcpu()) {
    std::atomic<int>& place = of(side).place;
    if (place.load(std::memory_order_relaxed) != here + 1)
      place.store(here + 1, std::memory_order_relaxed);
  }

  // Looks for `is_there`. True: it is. False: fall asleep. REQUIRES: no lock is held that the other
  // side needs.
  template <class Event>
  bool look(Side side, Event is_there, int here = ::sched_getcpu()) {
    Looking& mine = of(side);
    appear(side, here);
    if (!is_elsewhere(side, here) || !mine.is_worth_it()) return false;
    if (mine.somebody.exchange(true, std::memory_order_relaxed)) return false;
    const bool came = look_until(is_there, longest_look);
    mine.somebody.store(false, std::memory_order_relaxed);
    mine.learn(came);
    return came;
  }

 protected:
  template <class Condition>
  static bool look_until(Condition holds, Duration longest) {
    const SystemClock clock;
    const Instant end = clock.now() + longest;
    do {
      for (unsigned look = 0; look < looks_per_clock; ++look) {
        if (holds()) return true;
        pause();
      }
    } while (clock.now() < end);
    return holds();
  }

 private:
  static constexpr unsigned looks_per_clock = 16;
  static constexpr std::uint32_t most_seldom = 6;  // Once in 2^6 times.

  struct Looking {
    std::atomic<int> place;  // The CPU where one of this side was seen last, from 1; 0: nowhere.
    std::atomic<bool> somebody;
    std::atomic<std::uint32_t> vain;  // Looks, one after the other.
    std::atomic<std::uint32_t> left_out;

    bool is_worth_it() {
      const std::uint32_t left = left_out.load(std::memory_order_relaxed);
      if (left > 0) left_out.store(left - 1, std::memory_order_relaxed);
      return left == 0;
    }
    void learn(bool came) {
      const std::uint32_t before = vain.load(std::memory_order_relaxed);
      const std::uint32_t now = came ? 0 : before < most_seldom ? before + 1 : before;
      vain.store(now, std::memory_order_relaxed);
      if (!came) left_out.store((1U << now) - 1, std::memory_order_relaxed);
    }
  };

  Looking& of(Side side) { return sides_[static_cast<std::size_t>(side)]; }

  bool is_elsewhere(Side side, int here) {
    const Side other = side == Side::caller ? Side::worker : Side::caller;
    const int there = of(other).place.load(std::memory_order_relaxed);
    return there != 0 && there != here + 1;
  }

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
  }

  std::array<Looking, 2> sides_;
};

}  // namespace unirun
