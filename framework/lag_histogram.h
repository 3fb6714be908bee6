// LagHistogram counts durations by size, as one thread measures them and others look: see
// Histogram.
//
// Thread: record() one, the rest any.

#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "framework/histogram.h"
#include "framework/time.h"

namespace unirun {

class LagHistogram {
 public:
  // `times`: as a sample that stands for so many.
  void record(Duration duration, std::uint64_t times = 1) {
    const auto nanoseconds =
        static_cast<std::uint64_t>(std::max<Duration::rep>(duration.count(), 0));
    add(counts_[Histogram::step_of(nanoseconds)], times);
    add(sum_, times * nanoseconds);
    if (nanoseconds > max_.load(std::memory_order_relaxed)) {
      max_.store(nanoseconds, std::memory_order_relaxed);
    }
  }

  // So far.
  [[nodiscard]] Histogram read() const {
    Histogram seen;
    for (std::size_t step = 0; step < Histogram::steps; ++step)
      seen.counts_[step] = counts_[step].load(std::memory_order_relaxed);
    seen.sum_ = sum_.load(std::memory_order_relaxed);
    seen.max_ = max_.load(std::memory_order_relaxed);
    return seen;
  }

  // As Histogram's.
  [[nodiscard]] std::uint64_t count() const { return read().count(); }
  [[nodiscard]] Duration max() const { return read().max(); }
  [[nodiscard]] Duration quantile(double share) const { return read().quantile(share); }

 private:
  // One writer: no read-modify-write is needed.
  static void add(std::atomic<std::uint64_t>& to, std::uint64_t by) {
    to.store(to.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }

  std::array<std::atomic<std::uint64_t>, Histogram::steps> counts_{};
  std::atomic<std::uint64_t> sum_{0};
  std::atomic<std::uint64_t> max_{0};
};

}  // namespace unirun
