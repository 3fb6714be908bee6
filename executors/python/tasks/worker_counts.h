// WorkerCounts is what one worker has counted. It alone writes, so nothing is shared but by
// reading.
//
// Thread: the worker's; reading any. Times are in nanoseconds.

#pragma once

#include <atomic>
#include <cstdint>

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
  Tally timed;  // So many tasks of which the next two are sums.
  Tally waited_ns;
  Tally ran_ns;
  Tally attached;  // So often the GIL was asked for, and waited for so long.
  Tally gil_wait_ns;
};

}  // namespace unirun::python
