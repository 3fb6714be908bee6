// RunIds hands out the names of runs, and knows which of them live: a run that is alive but not
// ours is a stranger (OTP item 33), a dead one is simply dead.
//
// Thread: the loop's. One per tree; the host that restarts its trees keeps it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_set>

#include "framework/run_id.h"

namespace unirun {

class RunIds {
 public:
  // A new name, alive from now on. Growing, never reused.
  [[nodiscard]] RunId next() {
    const RunId run{++last_};
    alive_.insert(run);
    return run;
  }

  void ended(RunId run) { alive_.erase(run); }
  [[nodiscard]] bool alive(RunId run) const { return alive_.count(run) > 0; }
  [[nodiscard]] std::size_t count_alive() const { return alive_.size(); }

 private:
  std::uint64_t last_ = 0;
  std::unordered_set<RunId> alive_;
};

}  // namespace unirun
