// TaskMemory is where tasks lie: blocks that a thread keeps for its next task, since a task is made
// by one thread and dropped by another, a hundred thousand times a second, which malloc() takes as
// the worst case. What a thread has too many of it leaves to others, and what all have too many of
// goes back: at most some 2 MiB are kept for each size.
//
// Thread: any.

#pragma once

#include <cstddef>

namespace unirun::python {

class TaskMemory {
 public:
  [[nodiscard]] static void* take(std::size_t bytes);
  // REQUIRES: `bytes` as they were asked for.
  static void give_back(void* block, std::size_t bytes) noexcept;

  // In a child of fork(): what other threads held is not here.
  static void forget();
};

}  // namespace unirun::python
