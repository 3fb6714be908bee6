#include "executors/heartbeat_watch.h"

#include <utility>

namespace unirun {

HeartbeatWatch::HeartbeatWatch(EventLoop& loop, Duration timeout,
                               std::function<void()> take_pending,
                               std::function<void(Duration silence)> on_silent)
    : loop_(loop),
      timeout_(timeout),
      take_pending_(std::move(take_pending)),
      on_silent_(std::move(on_silent)),
      last_(loop.clock().now()) {
  wait_until(last_ + timeout_);
}

HeartbeatWatch::~HeartbeatWatch() {
  *alive_ = false;
  loop_.cancel_timer(timer_);
}

void HeartbeatWatch::wait_until(Instant deadline) {
  timer_ = loop_.start_timer(deadline, [this, deadline] { on_due(deadline); });
}

void HeartbeatWatch::on_due(Instant deadline) {
  timer_ = TimerId::none;
  const auto alive = alive_;
  const auto take_pending = take_pending_;
  take_pending();
  if (!*alive) return;
  const Instant now = loop_.clock().now();
  // Late by more than a whole timeout: this host stood still (SIGSTOP, a sleeping machine), and the
  // service may have stood still with it. It gets its time again.
  if (now - deadline > timeout_) last_ = now;
  if (now < last_ + timeout_) return wait_until(last_ + timeout_);
  const auto on_silent = on_silent_;
  on_silent(now - last_);
}

}  // namespace unirun
