// What the kernel tells of a child's death.
//
// Thread: the loop's.

#pragma once

#include <sys/types.h>

#include <optional>

#include "executors/process/exit_mapping.h"
#include "executors/process/run_world.h"

namespace unirun {

// How the dead are to be read.
struct DeathTraits {
  bool forked = false;          // And not spawned.
  bool kill_requested = false;  // By us: then SIGKILL is no sign of scarce memory.
};

// Takes a dead child from the kernel. REQUIRES: it is dead, and not reaped yet.
[[nodiscard]] ProcessEnd reap(RunWorld& world, pid_t pid, const DeathTraits& traits);

// Of a child that is dying right now and not to be reaped yet, how it ends. Nothing if it is not
// dying, or ends normally: 0 is also what stands there of one that lives.
[[nodiscard]] std::optional<ProcessEnd> end_of_dying(RunWorld& world, pid_t pid,
                                                     const DeathTraits& traits);

}  // namespace unirun
