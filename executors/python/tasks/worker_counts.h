// WorkerCounts is what one worker has counted. It alone writes, so nothing is shared but by
// reading.
//
// Thread: the worker's; reading any.

#pragma once

#include <atomic>
#include <cstdint>

#include "executors/python/tasks/statistics.h"
#include "executors/python/tasks/task_state.h"
#include "framework/lag_histogram.h"

namespace unirun::python {

// A number that one thread writes and others read.
class Tally {
 public:
  void add(std::uint64_t more) {
    value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_release);
  }
  [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_acquire); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct alignas(64) WorkerCounts {
  Tally started;
  Tally executed;
  Tally failed;
  Tally cancelled;
  Tally timed_out;
  Tally interrupted;
  LagHistogram queue_wait;  // Of tasks, from submission to the first statement.
  LagHistogram execution;   // Of tasks, from there to the end.
  LagHistogram gil_wait;    // Each time that the worker asks for it.

  void count_end(Ending ending) {
    switch (ending) {
      case Ending::executed: executed.add(1); break;
      case Ending::failed: failed.add(1); break;
      case Ending::cancelled: cancelled.add(1); break;
      case Ending::timed_out: timed_out.add(1); break;
    }
  }
  void add_times_to(Stats& stats) const {
    stats.queue_wait.add(queue_wait.read());
    stats.execution.add(execution.read());
    stats.gil_wait.add(gil_wait.read());
  }
};

}  // namespace unirun::python
