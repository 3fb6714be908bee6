// What an engine counts of its tasks, and how long they wait and run: the figures behind an
// executor's `_statistics()`.
//
// Thread: with the engine's lock.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <array>
#include <cstdint>

#include "framework/time.h"

namespace unirun::bindings {

// Durations by powers of two, from 1 us to 1,000 s.
class Durations {
 public:
  void add(Duration duration);

  // {"count", "sum", "max", "buckets": [[upper bound, count], ...]}, in seconds; only buckets with
  // something in them. Null: an exception is set.
  [[nodiscard]] PyObject* as_dict() const;

 private:
  std::array<std::uint64_t, 32>
      counts_{};  // counts_[n]: below 2^n us; the last one: all that is longer.
  std::uint64_t count_ = 0;
  Duration sum_{};
  Duration longest_{};
};

struct Statistics {
  std::uint64_t submitted = 0;
  std::uint64_t completed = 0;  // With a result.
  std::uint64_t failed = 0;     // With an exception.
  std::uint64_t cancelled = 0;
  Durations waited;
  Durations ran;
  int bell = -1;  // An eventfd: who waits for it is told of the next change. -1: nobody is.

  // One more of submitted, completed, failed or cancelled.
  void count(std::uint64_t Statistics::*what) {
    ++(this->*what);
    tell_change();
  }
  // Of what the engine knows beside it, too. With any lock held: nobody is waited for.
  void tell_change() {
    if (bell >= 0) [[unlikely]]
      ring();
  }

  // Whether the task that is submitted next is timed: each while the queue is short, every 16th
  // while it is long, for a look at the clock costs as much as a small task.
  [[nodiscard]] bool times_next(std::size_t queued) const {
    return queued < 16 || submitted % 16 == 0;
  }

  // With what the engine knows beside it. Null: an exception is set.
  [[nodiscard]] PyObject* as_dict(std::size_t queued, std::size_t running,
                                  std::size_t workers) const;

 private:
  void ring();
};

}  // namespace unirun::bindings
