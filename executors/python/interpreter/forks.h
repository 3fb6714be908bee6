// Forks tells a process from those that it was forked off: what was made before a fork() belongs to
// threads that are not here, and whoever waited for it would wait for ever.
//
// Thread: any.

#pragma once

#include <atomic>
#include <cstdint>

namespace unirun::python {

class Forks {
 public:
  // They are counted from the first call on.
  static void watch();
  // So many lie between this process and the one that began.
  [[nodiscard]] static std::uint32_t count() { return count_.load(std::memory_order_relaxed); }

  // Ends the process, and says so on stderr, if it was forked off on this thread, which is one of
  // ours: what it ran has come back, nobody takes what becomes of it, and there is nothing else to
  // do.
  static void end_child();

 private:
  inline static std::atomic<std::uint32_t> count_{0};
};

}  // namespace unirun::python
