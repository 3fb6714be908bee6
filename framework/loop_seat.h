// LoopSeat says on whose behalf a loop works right now. Whoever hands control to foreign code takes
// the seat for it; a thread that looks on can then name the one who does not give it up.
//
// Thread: taking it the loop's, looking any.

#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "framework/run_id.h"

namespace unirun {

// Who may have the loop: a service. Thread: any; also when its service has just ended. Destroyed on
// the loop.
class LoopOccupant {
 public:
  virtual ~LoopOccupant() = default;
  [[nodiscard]] virtual RunId run() const = 0;
  [[nodiscard]] virtual std::string path() const = 0;

  // Where it stands, in text; empty where nobody can tell. May wait for what the blocked loop
  // holds.
  [[nodiscard]] virtual std::string stack() const = 0;
};

class LoopSeat {
 public:
  // Has the seat as long as it lives; what was before comes back. Seats nest.
  class Taken {
   public:
    Taken(LoopSeat& seat, std::shared_ptr<LoopOccupant> occupant)
        : seat_(seat), outer_(seat.change(std::move(occupant))) {}
    ~Taken() { seat_.change(std::move(outer_)); }
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;

   private:
    LoopSeat& seat_;
    std::shared_ptr<LoopOccupant> outer_;
  };

  struct Sight {
    std::shared_ptr<LoopOccupant> occupant;  // Nobody: the loop works for the host itself.
    std::uint64_t changes = 0;               // Equal in two looks: nothing has moved between them.
  };
  [[nodiscard]] Sight look() const {
    const std::lock_guard lock(mutex_);
    return {occupant_, changes_};
  }

  // The same without holding on to anybody.
  struct Glance {
    bool taken = false;
    std::uint64_t changes = 0;
    friend bool operator==(const Glance&, const Glance&) = default;
  };
  [[nodiscard]] Glance glance() const {
    const std::lock_guard lock(mutex_);
    return {occupant_ != nullptr, changes_};
  }

  // Thread: the loop's.
  [[nodiscard]] const std::shared_ptr<LoopOccupant>& occupant() const { return occupant_; }

 private:
  std::shared_ptr<LoopOccupant> change(std::shared_ptr<LoopOccupant> occupant) {
    const std::lock_guard lock(mutex_);
    ++changes_;
    return std::exchange(occupant_, std::move(occupant));
  }

  mutable std::mutex mutex_;
  std::shared_ptr<LoopOccupant> occupant_;  // Written by the loop under the mutex.
  std::uint64_t changes_ = 0;
};

}  // namespace unirun
