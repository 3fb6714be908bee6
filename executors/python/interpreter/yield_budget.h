// YieldBudget bounds what a thread loses by letting others in when they ask: over time a tenth of
// it, and at once no more than a millisecond. What one turn takes counts up to 5 ms, for after that
// the switch interval would have taken it as well.
//
// Thread: any asks, one charges.

#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>

#include "framework/time.h"

namespace unirun::python {

class YieldBudget {
 public:
  [[nodiscard]] bool allows(Instant now) const {
    return paid_at_.load(std::memory_order_relaxed) <= count(now) + parts * most_at_once.count();
  }

  void charge(Instant begin, Duration lost) {
    const auto paid_at = std::max(paid_at_.load(std::memory_order_relaxed), count(begin));
    paid_at_.store(paid_at + parts * std::min(lost, most_of_a_turn).count(),
                   std::memory_order_relaxed);
  }

 private:
  static constexpr int parts = 10;  // One of them may be lost.
  static constexpr Duration most_at_once = std::chrono::milliseconds(1);
  static constexpr Duration most_of_a_turn = std::chrono::milliseconds(5);

  static Instant::rep count(Instant at) { return at.time_since_epoch().count(); }

  std::atomic<Instant::rep> paid_at_{0};  // When all that was lost is a tenth of the time.
};

}  // namespace unirun::python
