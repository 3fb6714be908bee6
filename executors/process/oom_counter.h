// OomCounter asks the cgroup that we live in how many processes the kernel has killed for memory.
// The file is kept open: one read, no look-up, at a death by a SIGKILL that is not ours.
//
// Thread: the loop's.

#pragma once

#include <cstdint>

#include "executors/process/unique_fd.h"

namespace unirun {

class OomCounter {
 public:
  // Finds memory.events (cgroup v2) or memory.oom_control (v1). Without either, nothing is ever
  // said to have died for memory.
  OomCounter();

  // Has it grown since it was last asked?
  [[nodiscard]] bool has_grown();

 private:
  [[nodiscard]] std::uint64_t read() const;

  UniqueFd file_;
  std::uint64_t last_ = 0;
};

}  // namespace unirun
