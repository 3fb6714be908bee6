// LagHistogram counts durations by size: four steps to each doubling, so that a quantile is known
// within a quarter, in 2 KiB and for ever.
//
// Thread: record() one, the rest any.

#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "framework/time.h"

namespace unirun {

class LagHistogram {
 public:
  void record(Duration duration) {
    const auto nanoseconds =
        static_cast<std::uint64_t>(std::max<Duration::rep>(duration.count(), 0));
    add(counts_[step_of(nanoseconds)], 1);
    add(count_, 1);
    if (nanoseconds > max_.load(std::memory_order_relaxed)) {
      max_.store(nanoseconds, std::memory_order_relaxed);
    }
  }

  [[nodiscard]] std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  [[nodiscard]] Duration max() const { return as_duration(max_.load(std::memory_order_relaxed)); }

  // The least that `share` of all durations do not exceed, rounded up to its step; zero where there
  // are none. REQUIRES: 0 <= share <= 1.
  [[nodiscard]] Duration quantile(double share) const {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count())));
    std::uint64_t seen = 0;
    for (std::size_t step = 0; step < counts_.size() && wanted > 0; ++step) {
      seen += counts_[step].load(std::memory_order_relaxed);
      if (seen >= wanted) return std::min(as_duration(end_of(step)), max());
    }
    return Duration::zero();
  }

 private:
  static constexpr unsigned bits_within = 2;  // Steps to a doubling, as a power of two.

  static std::size_t step_of(std::uint64_t nanoseconds) {
    const unsigned bits = static_cast<unsigned>(std::bit_width(nanoseconds));
    if (bits <= bits_within) return nanoseconds;
    const unsigned shift = bits - 1 - bits_within;
    return ((shift + 1) << bits_within) + ((nanoseconds >> shift) & ((1u << bits_within) - 1));
  }
  // The largest that falls into this step.
  static std::uint64_t end_of(std::size_t step) {
    const std::size_t doubling = step >> bits_within;
    if (doubling == 0) return step;
    const std::uint64_t first = (1u << bits_within) + (step & ((1u << bits_within) - 1));
    return ((first + 1) << (doubling - 1)) - 1;
  }
  static Duration as_duration(std::uint64_t nanoseconds) {
    return Duration{static_cast<Duration::rep>(nanoseconds)};
  }
  // One writer: no read-modify-write is needed.
  static void add(std::atomic<std::uint64_t>& to, std::uint64_t by) {
    to.store(to.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }

  std::array<std::atomic<std::uint64_t>, 64u << bits_within> counts_{};
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::uint64_t> max_{0};
};

}  // namespace unirun
