// Clock tells the time. The only implementation that asks the system is SystemClock (clock.cpp);
// tests use SimulatedTime. Supervision is given a Clock and never looks elsewhere.
//
// Thread: any.

#pragma once

#include "framework/time.h"

namespace unirun {

class Clock {
 public:
  virtual ~Clock() = default;

  // CLOCK_MONOTONIC: never goes back, whatever happens to the wall clock.
  [[nodiscard]] virtual Instant now() const = 0;

  // CLOCK_REALTIME: for people and records only.
  [[nodiscard]] virtual WallTime wall_now() const = 0;
};

class SystemClock final : public Clock {
 public:
  [[nodiscard]] Instant now() const override;
  [[nodiscard]] WallTime wall_now() const override;
};

}  // namespace unirun
