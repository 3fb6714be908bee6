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

  // All of `count`, or none.
  [[nodiscard]] bool try_enter(std::uint32_t count = 1);
  // Stands in line, first come, first served. False: `deadline` came first, or close().
  [[nodiscard]] bool enter(Instant deadline);
  // Of one that entered; whoever stands first in line has the place.
  void leave();

  // Sends everyone in line away, and whoever comes. open() begins anew.
  void close();
  void open();

 private:
  enum : std::uint32_t { waiting, admitted, sent_away };
  struct Waiter {
    std::atomic<std::uint32_t> word{waiting};
  };

  [[nodiscard]] bool take_places(std::uint32_t count);

  // Those who enter and those who leave are on different CPUs: each side writes a cache line of its
  // own, and looks at the other's only where the places seem to be taken.
  alignas(64) std::atomic<std::uint64_t> entered_{0};
  std::atomic<std::uint64_t> seen_to_leave_{0};  // An earlier value of the next.
  alignas(64) std::atomic<std::uint64_t> left_{0};
  alignas(64) std::uint32_t limit_ = 0;
  std::atomic<std::uint32_t> in_line_{0};
  std::mutex mutex_;  // Guards the next two.
  std::deque<Waiter*> line_;
  bool closed_ = false;
};

}  // namespace unirun::python
