// HeartbeatWatch waits for signs of life and says when they stay away.
//
// Thread: the loop's. One timer, set anew only when it fires: a heartbeat costs a store.

#pragma once

#include <algorithm>
#include <functional>
#include <memory>

#include "framework/event_loop.h"

namespace unirun {

class HeartbeatWatch {
 public:
  // Calls `on_silent` once, when `timeout` has passed without a beat(). Before that it calls
  // `take_pending`, which reads what may have arrived while this process itself stood still.
  // Both may destroy the watch.
  HeartbeatWatch(EventLoop& loop, Duration timeout, std::function<void()> take_pending,
                 std::function<void(Duration silence)> on_silent);
  ~HeartbeatWatch();
  HeartbeatWatch(const HeartbeatWatch&) = delete;
  HeartbeatWatch& operator=(const HeartbeatWatch&) = delete;

  void beat() { last_ = loop_.clock().now(); }
  // It gave a sign of life then; told only now.
  void beat_at(Instant when) { last_ = std::max(last_, when); }

 private:
  void wait_until(Instant deadline);
  void on_due(Instant deadline);

  EventLoop& loop_;
  const Duration timeout_;
  const std::function<void()> take_pending_;
  const std::function<void(Duration)> on_silent_;
  Instant last_;
  TimerId timer_ = TimerId::none;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace unirun
