// Sleeping on a word of memory. Not std::atomic::wait: libstdc++'s spins first, which costs the one
// who would wake us 30 us where both share a core.
//
// Thread: any. The words are private to the process, unless `shared` says otherwise.

#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <ctime>

#include "framework/time.h"

namespace unirun::bindings {

// In memory that processes share, or in this one's own.
enum class FutexScope : int { own = FUTEX_PRIVATE_FLAG, shared = 0 };

// Sleeps while `word` holds `expected`, at most to `deadline` (null: for ever).
// 0: woken, or it held something else, or for no reason; ETIMEDOUT; EINTR.
inline int futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                      const Instant* deadline, FutexScope scope = FutexScope::own) {
  timespec until{};
  if (deadline != nullptr) {
    const auto since = deadline->time_since_epoch();
    const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
    until = {seconds.count(), (since - seconds).count()};
  }
  const long done =
      ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | static_cast<int>(scope), expected,
                deadline != nullptr ? &until : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
  return done == 0 || errno == EAGAIN ? 0 : errno;
}

inline void futex_wake(const std::atomic<std::uint32_t>& word, int count,
                       FutexScope scope = FutexScope::own) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE | static_cast<int>(scope), count, nullptr, nullptr, 0);
}

inline void futex_wake_all(const std::atomic<std::uint32_t>& word) { futex_wake(word, INT_MAX); }

}  // namespace unirun::bindings
