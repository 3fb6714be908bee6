// Random is the only chance there is: SplitMix64 from one seed, the same on every machine
// (the standard distributions differ between libraries).
//
// Thread: its owner's. Cheap to copy; two copies give the same numbers.

#pragma once

#include <cstdint>

namespace unirun {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound). REQUIRES: bound > 0. The bias is below bound / 2^64.
  std::uint64_t below(std::uint64_t bound) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
  }

  // Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  bool chance(double probability) { return unit() < probability; }

  // A seed from the system, for production; say it in the log, so that a run can be told again.
  [[nodiscard]] static std::uint64_t system_seed();

 private:
  std::uint64_t state_;
};

}  // namespace unirun
