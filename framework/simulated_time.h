// SimulatedTime is a clock and its timers in a world where waiting costs nothing: time stands
// still until someone advances it, and then every timer fires at exactly its own instant.
//
// Thread: one. Owns the functions of pending timers.

#pragma once

#include <cstddef>

#include "framework/clock.h"
#include "framework/timer_queue.h"
#include "framework/timers.h"

namespace unirun {

class SimulatedTime final : public Clock, public Timers {
 public:
  [[nodiscard]] Instant now() const override { return now_; }
  [[nodiscard]] WallTime wall_now() const override { return wall_; }
  [[nodiscard]] TimerId start_timer(Instant deadline, std::function<void()> on_due) override;
  void cancel_timer(TimerId timer) override;

  // Fires all that falls due within the next `duration`, each at its instant, then stands at its
  // end.
  void advance(Duration duration);

  // Goes to the next deadline and fires that one timer. False if none is pending.
  bool fire_next();

  // Moves the wall clock alone, as an administrator or NTP would.
  void jump_wall_clock(Duration by) { wall_ += by; }

  [[nodiscard]] std::size_t pending() const { return queue_.size(); }

  // Instant::max() if nothing is pending.
  [[nodiscard]] Instant next_deadline() const { return queue_.next_deadline(); }

 private:
  void stand_at(Instant instant);

  Instant now_{};
  WallTime wall_{std::chrono::seconds{1'700'000'000}};
  TimerQueue queue_;
};

}  // namespace unirun
