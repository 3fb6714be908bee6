// Admission bounds how many tasks wait. The bound is exact: with a limit of 100 the 101st is told
// no, or waits in line.
//
// Thread: any.

#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>

#include "framework/futex.h"
#include "framework/time.h"

namespace unirun::python {

class Admission {
 public:
  // Nobody may be inside. 0: no bound.
  void set_limit(std::uint32_t limit) { limit_ = limit; }
  [[nodiscard]] std::uint32_t limit() const { return limit_; }

  [[nodiscard]] bool try_enter();
  // Stands in line, first come, first served. False: `deadline` came first, or close().
  [[nodiscard]] bool enter(Instant deadline);
  // Of one that entered; whoever stands first in line has the place.
  void leave();

  // Sends everyone in line away, and whoever comes. open() begins anew.
  void close();
  void open();

  [[nodiscard]] std::uint32_t size() const { return inside_.load(std::memory_order_relaxed); }

 private:
  enum : std::uint32_t { waiting, admitted, sent_away };
  struct Waiter {
    std::atomic<std::uint32_t> word{waiting};
  };

  [[nodiscard]] bool take_place();

  std::uint32_t limit_ = 0;
  std::atomic<std::uint32_t> inside_{0};
  std::atomic<std::uint32_t> in_line_{0};
  std::mutex mutex_;  // Guards the next.
  std::deque<Waiter*> line_;
  bool closed_ = false;
};

}  // namespace unirun::python
