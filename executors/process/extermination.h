// exterminate() ends every process that belongs to a set, however fast those multiply: first all
// are stopped, pass by pass until a pass finds none that runs, then all are killed, and so on until
// two passes in a row find nobody. A stopped process keeps its place in the table, so a fork bomb
// at its limit cannot grow any more. One that cannot be told, because it is in the midst of an
// exec, is looked at again: for such a moment it carries no mark.
//
// Without heap. Blocks: milliseconds as a rule, longer against a bomb.

#pragma once

#include <cstdint>

#include "executors/process/process_table.h"

namespace unirun {

struct ProcessSet {
  virtual ~ProcessSet() = default;
  // Is this process one of those that are to end? The dead are passed over anyway.
  [[nodiscard]] virtual Found contains(pid_t pid) const = 0;
};

// A killed process is listed until it has given its memory back: wait that long before looking
// again. Not for the loop's thread.
void wait_for_the_dying();

// Returns how many processes were killed.
std::uint64_t exterminate(const ProcessSet& set);

}  // namespace unirun
