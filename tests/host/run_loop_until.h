// run_loop_until() runs a loop until something has become true, and fails the test if that takes
// too long: no test waits by sleeping.

#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "framework/event_loop.h"

namespace unirun {

// Asks after every turn of the loop.
inline void run_loop_until(EventLoop& loop, const std::function<bool()>& true_by_now,
                           Duration limit = std::chrono::seconds{30}) {
  bool too_late = false;
  const TimerId timer = loop.start_timer(loop.clock().now() + limit, [&] {
    too_late = true;
    loop.stop();
  });
  // Looks again whenever the loop has nothing else to do, a thousand times a second at most.
  std::function<void()> look = [&] {
    if (true_by_now()) return loop.stop();
    (void)loop.start_timer(loop.clock().now() + std::chrono::milliseconds{1}, look);
  };
  (void)loop.start_timer(loop.clock().now(), look);
  loop.run();
  if (!too_late) loop.cancel_timer(timer);
  REQUIRE_MESSAGE(!too_late, "it did not become true in time");
}

}  // namespace unirun
