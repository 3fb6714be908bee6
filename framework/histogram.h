// Histogram is how often durations of each size came: four steps to each doubling, so that a
// quantile is known within a quarter, in 2 KiB and for ever. LagHistogram is one that is being
// written.
//
// Thread: as any value.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "framework/time.h"

namespace unirun {

class Histogram {
 public:
  [[nodiscard]] std::uint64_t count() const {
    std::uint64_t all = 0;
    for (const std::uint64_t times : counts_) all += times;
    return all;
  }
  [[nodiscard]] Duration sum() const { return as_duration(sum_); }
  [[nodiscard]] Duration max() const { return as_duration(max_); }

  // Zero where there are none, here and below.
  [[nodiscard]] Duration mean() const {
    const std::uint64_t all = count();
    return all == 0 ? Duration::zero() : as_duration(sum_ / all);
  }

  // The least that `share` of all durations do not exceed, rounded up to its step. REQUIRES: 0 <=
  // share <= 1.
  [[nodiscard]] Duration quantile(double share) const {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count())));
    std::uint64_t seen = 0;
    for (std::size_t step = 0; step < steps && wanted > 0; ++step) {
      seen += counts_[step];
      if (seen >= wanted) return std::min(as_duration(end_of(step)), max());
    }
    return Duration::zero();
  }

  // So many took less than 2^`bits` nanoseconds, exactly.
  [[nodiscard]] std::uint64_t count_below_bits(unsigned bits) const {
    std::uint64_t below = 0;
    for (std::size_t step = 0; step < steps && end_of(step) < std::uint64_t{1} << bits; ++step)
      below += counts_[step];
    return below;
  }

  void add(const Histogram& other) {
    for (std::size_t step = 0; step < steps; ++step) counts_[step] += other.counts_[step];
    sum_ += other.sum_;
    max_ = std::max(max_, other.max_);
  }

 private:
  friend class LagHistogram;

  static constexpr unsigned bits_within = 2;  // Steps to a doubling, as a power of two.
  static constexpr std::size_t steps = 64u << bits_within;

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

  std::array<std::uint64_t, steps> counts_{};
  std::uint64_t sum_ = 0;  // Nanoseconds, and the next.
  std::uint64_t max_ = 0;
};

}  // namespace unirun
