// BlockingWatch tells of services that block the loop of the host, while they do: a loop_blocked
// event with their stack, and for those with a limit (LoopLagLiveness) an interruption and a word
// to the executor. It exists once there are async services.
//
// Thread: the loop's. Loop and bus outlive it.

#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "executors/in_process/bystander.h"
#include "executors/in_process/in_process_world.h"
#include "framework/loop_monitor.h"

namespace unirun {

class BlockingWatch {
 public:
  // Called on the loop, when it goes on: the service kept it for longer than its limit.
  using OnTooLong = std::function<void(RunId run, Duration duration)>;

  // Tells of whoever keeps the loop for `threshold`.
  BlockingWatch(std::shared_ptr<InProcessWorld> world, Duration threshold, OnTooLong on_too_long);

  // `interrupt` is called from another thread when the run has kept the loop for so long.
  void set_limit(RunId run, Duration limit, std::function<void()> interrupt);
  void clear_limit(RunId run);

  [[nodiscard]] const LagHistogram& lag() const { return monitor_.lag(); }

 private:
  struct Limit {
    Duration duration{};
    std::function<void()> interrupt;
    bool told = false;  // In this block.
  };

  void on_blocked(const std::shared_ptr<LoopOccupant>& occupant, Duration duration, bool first);
  void tell(const std::shared_ptr<LoopOccupant>& occupant, Duration duration);
  void hold_to_limit(RunId run, Duration duration, bool first);
  [[nodiscard]] std::string stack_of(const std::shared_ptr<LoopOccupant>& occupant);

  const std::shared_ptr<InProcessWorld> world_;
  const std::shared_ptr<const OnTooLong> on_too_long_;
  Bystander bystander_;  // The monitor's.
  std::mutex mutex_;     // Guards `limits_`.
  std::unordered_map<RunId, Limit> limits_;
  LoopMonitor monitor_;  // Last: its thread uses all the others.
};

}  // namespace unirun
