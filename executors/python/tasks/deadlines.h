// Deadlines calls functions when their time has come, on one thread of its own: all timeouts of the
// executor. A heap, in which what is cancelled costs nothing to carry.
//
// Thread: any, but for the end, which is the owner's. The thread begins with the first deadline.

#pragma once

#include <functional>
#include <mutex>
#include <optional>

#include "executors/thread/service_thread.h"
#include "framework/doorbell.h"
#include "framework/result.h"
#include "framework/timer_queue.h"

namespace unirun::python {

class Deadlines {
 public:
  Deadlines() = default;
  Deadlines(const Deadlines&) = delete;
  Deadlines& operator=(const Deadlines&) = delete;
  ~Deadlines() { stop(); }

  // Calls `on_due`, which must not throw, at `deadline` or soon after. Errors: no thread can be
  // had; stopped.
  [[nodiscard]] unirun::Result<TimerId> start(Instant deadline, std::function<void()> on_due);
  // It may be running just now; afterwards it does not begin.
  void cancel(TimerId timer);
  // Ends the thread; what has not come due is dropped. From then on start() is refused, until
  // open(): who comes late finds nobody who would end the thread again.
  void stop();
  void open();

 private:
  void run();
  [[nodiscard]] bool run_due();

  std::mutex mutex_;  // Guards the next five. No function is called within.
  TimerQueue queue_;
  std::optional<ServiceThread> thread_;
  Instant awake_at_ = Instant::max();  // When the thread looks by itself.
  bool is_open_ = true;
  bool ending_ = false;
  Doorbell bell_;
  Doorbell ended_;
  std::atomic<bool> has_ended_{false};
};

}  // namespace unirun::python
