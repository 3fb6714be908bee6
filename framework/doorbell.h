// Doorbell lets one thread sleep until another rings: a futex, so that ringing takes no lock, no
// descriptor and never waits for the sleeper.
//
// Thread: any. A ring that nobody waits for is not lost.

#pragma once

#include <atomic>
#include <cstdint>

#include "framework/clock.h"
#include "framework/time.h"

namespace unirun {

class Doorbell {
 public:
  // Wakes every sleeper, to look again.
  void ring();

  // Sleeps until `ready()` is true: true then, false after `timeout`. `ready()` is asked at once
  // and after each ring, on this thread; make it true first and ring afterwards.
  template <class Ready>
  bool wait(Duration timeout, Ready ready) const {
    const SystemClock clock;
    const Instant begin = clock.now();
    for (;;) {
      const std::uint32_t seen = rings_.load(std::memory_order_acquire);
      if (ready()) return true;
      const Duration rest = timeout - (clock.now() - begin);
      if (rest <= Duration::zero()) return false;
      sleep(seen, rest);
    }
  }

 private:
  // Returns when the bell has rung since `seen`, after `timeout`, or by chance.
  void sleep(std::uint32_t seen, Duration timeout) const;

  std::atomic<std::uint32_t> rings_{0};
};

}  // namespace unirun
