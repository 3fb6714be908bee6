// Children are the processes that this executor has started and not reaped yet: whatever else has
// the host as its parent was adopted.
//
// Thread: the loop's.

#pragma once

#include <sys/types.h>

#include <unordered_set>

namespace unirun {

using Children = std::unordered_set<pid_t>;

}  // namespace unirun
