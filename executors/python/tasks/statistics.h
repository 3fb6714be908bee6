// What a PythonExecutor has done and does: a snapshot that adds up. At each moment
// submitted = executed + failed + cancelled + timed_out + rejected + queued + running.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/histogram.h"

namespace unirun::python {

struct WorkerStats {
  std::uint32_t id = 0;
  std::uint64_t executed = 0;
  std::uint64_t failed = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t interrupted = 0;
  bool is_busy = false;
  std::optional<int> cpu{};  // It stays on; nothing: on any.
};

// Names of tasks, contexts, functions and threads of which each waits for the next; the last waits
// for none of them: it runs, or is queued.
using WaitChain = std::vector<std::string>;

struct Stats {
  std::uint64_t tasks_executed = 0;  // And returned.
  std::uint64_t tasks_queued = 0;
  std::uint64_t tasks_failed = 0;  // Raised.
  std::uint64_t avg_execution_time_ns = 0;

  std::uint64_t submitted = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t rejected = 0;     // By a full queue.
  std::uint64_t interrupted = 0;  // Were sent an interruption, whatever became of it.
  std::uint64_t running = 0;
  std::uint64_t stuck = 0;  // Workers that were given up.
  std::uint64_t workers = 0;
  std::uint64_t avg_queue_wait_ns = 0;
  std::uint64_t avg_gil_wait_ns = 0;
  // While all workers are busy one task in sixteen is measured, and counts for sixteen.
  Histogram queue_wait;  // From submission to the first statement.
  Histogram execution;   // From there to the end; a coroutine's with what it awaits.
  Histogram gil_wait;    // Each time that a worker asks for it.
  std::vector<WorkerStats> per_worker;
  // Who waits for whom just now: threads and tasks that wait for tasks. One chain for each that
  // nobody waits for; one that comes back to where it began is a circle. A thread bears the name
  // that it had when it first waited.
  std::vector<WaitChain> waiting{};
};

// The same for Prometheus, as text of the format 0.0.4.
[[nodiscard]] std::string prometheus_text(const Stats& stats);

}  // namespace unirun::python
