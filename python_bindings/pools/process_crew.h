// The worker processes of one pool as the pool sees them, and the calls that each of them has.
//
// Thread: with the GIL, or the engine's lock on builds without one.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "framework/time.h"
#include "python_bindings/pools/future.h"
#include "python_bindings/pools/process_link.h"
#include "python_bindings/pools/ring.h"

namespace unirun::bindings {

// How many calls a worker may have at a time.
constexpr std::size_t smallest_window = 2;
constexpr std::size_t largest_window = 512;

// One call, from submit() to its result.
struct ProcessTask {
  Reference future;
  Reference callable;
  Reference arguments;
  Reference keywords;  // Or nothing.
  std::uint64_t id = 0;
  Instant queued_at{};
  Duration timeout{};      // Zero: none.
  bool started = false;    // Its future is running: it was with a worker already.
  Frame* frame = nullptr;  // With a worker: where.

  [[nodiscard]] Future* target() const { return reinterpret_cast<Future*>(future.get()); }
  int traverse(visitproc visit, void* arg) const;
};

// One worker process, as the pool sees it.
struct ProcessWorker {
  ProcessWorker(std::uint64_t number, int file);

  std::uint64_t id;
  SharedMemory memory;
  RingWriter tasks;
  RingReader results;
  std::deque<ProcessTask> calls;         // With it, in the order in which it makes them.
  std::vector<bool> functions;           // Which ones it knows.
  std::size_t window = smallest_window;  // How many calls it may have at a time.
  Duration run_time{};                   // Of its calls, lately.
  Instant deadline{};                    // Of its only call; the epoch: none.
  int life = -1;                         // Closed when this process ends, however it ends.
  int socket = -1;
  int sentinel = -1;  // Python's: readable once the process has ended.
  bool attached = false;
  bool to_be_woken = false;
  bool told_dead = false;

  [[nodiscard]] WorkerWords* words() const {
    return reinterpret_cast<WorkerWords*>(memory.start());
  }
  void close_ends();
};

class ProcessCrew {
 public:
  // What a new worker process is given, the caller's to close. The life ends with the pool's
  // process.
  struct Ends {
    int memory = -1;
    int life = -1;
    int socket = -1;
  };
  // A new worker, not yet attached. Nothing: errno says why.
  [[nodiscard]] std::optional<Ends> open();
  // The latest that open() has made.
  [[nodiscard]] std::uint64_t last_number() const { return last_; }
  // Null: there is none.
  [[nodiscard]] std::shared_ptr<ProcessWorker> find(std::uint64_t id) const;
  void remove(std::uint64_t id);
  [[nodiscard]] const std::vector<std::shared_ptr<ProcessWorker>>& workers() const {
    return workers_;
  }

  // Who may have this call: an idle worker first, else the one with the least to do. Null: nobody.
  [[nodiscard]] ProcessWorker* choose(const ProcessTask& task) const;
  // Wakes those that were sent something.
  void wake() const;
  [[nodiscard]] bool has_idle() const;
  // Somebody has more than one call.
  [[nodiscard]] bool has_more_than_one_call() const;
  // In the rings, also of those who have just said that they sleep.
  [[nodiscard]] bool has_results() const;
  // Whose call is over its time.
  [[nodiscard]] std::vector<std::uint64_t> overdue(Instant now);
  // When the next call may be; Instant::max(): none.
  [[nodiscard]] Instant next_deadline() const;

  void close_ends();
  void clear() { workers_.clear(); }

 private:
  std::vector<std::shared_ptr<ProcessWorker>> workers_;
  std::uint64_t last_ = 0;
};

}  // namespace unirun::bindings
