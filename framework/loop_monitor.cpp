#include "framework/loop_monitor.h"

#include <pthread.h>

#include <utility>

#include "framework/require.h"

namespace unirun {

LoopMonitor::LoopMonitor(EventLoop& loop, Duration threshold, OnBlocked on_blocked)
    : loop_(loop), threshold_(threshold), on_blocked_(std::move(on_blocked)) {
  UNIRUN_REQUIRE(threshold_ > Duration::zero() && on_blocked_ != nullptr);
  loop_.observe_turns(this);
  thread_ = std::thread([this] { watch(); });
  pthread_setname_np(thread_.native_handle(), "unirun-monitor");
}

LoopMonitor::~LoopMonitor() {
  loop_.observe_turns(nullptr);
  ends_ = true;
  bell_.ring();
  thread_.join();
}

// ---- On the loop ----

void LoopMonitor::mark_turn(std::memory_order order) {
  turn_marks_.store(turn_marks_.load(std::memory_order_relaxed) + 1, order);
}

// This mark and the look at `parked_` must not change places: either we see that the thread is
// parked, or it sees the mark before it parks.
void LoopMonitor::on_turn_began() noexcept {
  turn_began_ = loop_.clock().now();
  mark_turn(std::memory_order_seq_cst);
  if (parked_.load(std::memory_order_seq_cst) && parked_.exchange(false)) bell_.ring();
}

void LoopMonitor::on_turn_ended() noexcept {
  lag_.record(loop_.clock().now() - turn_began_);
  mark_turn(std::memory_order_release);
}

// ---- On its own thread ----

LoopMonitor::Place LoopMonitor::look() const {
  return {turn_marks_.load(std::memory_order_seq_cst), loop_.seat().glance()};
}

void LoopMonitor::watch() {
  const Duration pause = threshold_ / 2;
  const SystemClock clock;
  Place last = look();
  Instant since = clock.now();
  bool first = true;
  while (!bell_.wait(pause, [this] { return ends_.load(); })) {
    const Place place = look();
    const Instant now = clock.now();
    if (place != last) {
      last = place;
      since = now;
      first = true;
    } else if (!place.at_work()) {
      park(place);
    } else if (now - since >= threshold_) {
      report(place, now - since, std::exchange(first, false));
    }
  }
}

// Until the loop works again: it then finds us parked, and rings.
void LoopMonitor::park(const Place& last) {
  parked_.store(true, std::memory_order_seq_cst);
  const auto wanted = [&] {
    return ends_.load() || turn_marks_.load(std::memory_order_seq_cst) != last.turn_marks;
  };
  while (!bell_.wait(Duration::max(), wanted)) {
  }
  parked_.store(false, std::memory_order_seq_cst);
}

void LoopMonitor::report(const Place& place, Duration duration, bool first) {
  LoopSeat::Sight sight = loop_.seat().look();
  if (sight.changes != place.seat.changes) return;  // It has gone on.
  on_blocked_(sight.occupant, duration, first);
  // Whoever it is belongs to the loop, and must not die here.
  if (sight.occupant) loop_.post([occupant = std::move(sight.occupant)] {});
}

}  // namespace unirun
