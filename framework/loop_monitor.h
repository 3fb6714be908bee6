// LoopMonitor measures how long the turns of a loop take, and names who blocks it while it is
// blocked.
//
// It has a thread that looks now and then while the loop is at work, and sleeps as long as the loop
// waits: a loop with nothing to do is woken by nobody, and wakes nobody. A turn costs two looks at
// the clock and two stores; only the first after a wait wakes the thread.
//
// Thread: the loop's for construction and end; lag() any. The loop outlives it.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "framework/doorbell.h"
#include "framework/event_loop.h"
#include "framework/lag_histogram.h"

namespace unirun {

class LoopMonitor final : TurnObserver {
 public:
  // Called on the monitor's thread, again and again as long as the same one keeps the loop, from
  // `threshold` on; `occupant` is null where the loop works for nobody in particular. `first`: not
  // told yet. The duration is so far, and at least so long. When this is called the loop may have
  // gone on already.
  using OnBlocked = std::function<void(const std::shared_ptr<LoopOccupant>& occupant,
                                       Duration duration, bool first)>;

  // REQUIRES: threshold > 0; the loop has no other observer of its turns.
  LoopMonitor(EventLoop& loop, Duration threshold, OnBlocked on_blocked);
  ~LoopMonitor();
  LoopMonitor(const LoopMonitor&) = delete;
  LoopMonitor& operator=(const LoopMonitor&) = delete;

  // How long turns have taken: for so long whatever came meanwhile had to wait.
  [[nodiscard]] const LagHistogram& lag() const { return lag_; }

 private:
  // Where the loop stands: equal twice and at work, nothing has moved in between.
  struct Place {
    std::uint64_t turn_marks = 0;
    LoopSeat::Glance seat;
    // Services may also be begun before the loop runs.
    [[nodiscard]] bool at_work() const { return turn_marks % 2 == 1 || seat.taken; }
    friend bool operator==(const Place&, const Place&) = default;
  };

  void on_turn_began() noexcept override;
  void on_turn_ended() noexcept override;
  void mark_turn(std::memory_order order);
  [[nodiscard]] Place look() const;
  void watch();
  void park(const Place& last);
  void report(const Place& place, Duration duration, bool first);

  EventLoop& loop_;
  const Duration threshold_;
  const OnBlocked on_blocked_;
  LagHistogram lag_;
  Instant turn_began_{};                      // The loop's.
  std::atomic<std::uint64_t> turn_marks_{0};  // One at each begin and end: odd while it works.
  std::atomic<bool> parked_{false};
  std::atomic<bool> ends_{false};
  Doorbell bell_;
  std::thread thread_;
};

}  // namespace unirun
