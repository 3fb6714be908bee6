// LaunchPad is where a child's descriptors are laid out just before its clone: a few slots, low in
// the host's own table. A child that begins by sharing that table can then take a copy of its low
// end only (close_range(2) with CLOSE_RANGE_UNSHARE). Without it every spawn would copy, and close
// again, the three descriptors of every service that runs: a fifth of the time when 200 die at
// once.
//
// Thread: the spawner's. Between two spawns its slots hold /dev/null, so that nothing else gets
// their numbers.

#pragma once

#include <array>
#include <vector>

#include "executors/process/child_setup.h"
#include "executors/process/unique_fd.h"

namespace unirun {

class LaunchPad {
 public:
  LaunchPad();

  // /dev/null, for whoever wants it in a child.
  [[nodiscard]] int null() const { return null_.get(); }

  // Everything a child may need lies below this number.
  [[nodiscard]] int end() const { return end_; }

  // Puts a copy of each move's source into a slot, and that into the move. False, and nothing has
  // changed, if there are more of them than slots, or if there are no descriptors left.
  [[nodiscard]] bool lay_out(std::vector<DescriptorMove>& moves);

  // Lets go of what was laid out.
  void clear();

 private:
  static constexpr std::size_t slot_count = 8;

  UniqueFd null_;
  std::array<UniqueFd, slot_count> slots_;
  std::size_t in_use_ = 0;
  int end_ = 0;
};

}  // namespace unirun
