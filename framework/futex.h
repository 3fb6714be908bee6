// Sleeping on a word of memory. Not std::atomic::wait: libstdc++'s spins first, which costs the one
// who would wake us 30 us where both share a core.
//
// Thread: any. The words are private to the process, unless `shared` says otherwise.

#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <ctime>

#include "framework/clock.h"
#include "framework/time.h"

namespace unirun {

// In memory that processes share, or in this one's own.
enum class FutexScope : int { own = FUTEX_PRIVATE_FLAG, shared = 0 };

inline timespec as_timespec(Instant time) {
  const auto since = time.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  return {seconds.count(), (since - seconds).count()};
}

// Sleeps while `word` holds `expected`, at most to `deadline` (null: for ever).
// 0: woken, or it held something else, or for no reason; ETIMEDOUT; EINTR.
inline int futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                      const Instant* deadline, FutexScope scope = FutexScope::own) {
  timespec until{};
  if (deadline != nullptr) until = as_timespec(*deadline);
  const long done =
      ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | static_cast<int>(scope), expected,
                deadline != nullptr ? &until : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
  return done == 0 || errno == EAGAIN ? 0 : errno;
}

// Sleeps on two words, the second this process's own, while both hold what is expected. Where the
// kernel cannot (before 5.16) it wakes now and then to look.
inline int futex_wait_either(const std::atomic<std::uint32_t>& first, std::uint32_t first_value,
                             const std::atomic<std::uint32_t>& own, std::uint32_t own_value,
                             const Instant* deadline, FutexScope first_scope) {
#ifdef SYS_futex_waitv
  const auto scope = static_cast<std::uint32_t>(first_scope);
  std::array<::futex_waitv, 2> words{};
  words[0] = {first_value, reinterpret_cast<std::uintptr_t>(&first), FUTEX_32 | scope, 0};
  words[1] = {own_value, reinterpret_cast<std::uintptr_t>(&own), FUTEX_32 | FUTEX_PRIVATE_FLAG, 0};
  timespec until{};
  if (deadline != nullptr) until = as_timespec(*deadline);
  if (::syscall(SYS_futex_waitv, words.data(), words.size(), 0,
                deadline != nullptr ? &until : nullptr, CLOCK_MONOTONIC) >= 0 ||
      errno == EAGAIN)
    return 0;
  if (errno == EINTR || errno == ETIMEDOUT) return errno;
#endif
  const Instant soon = SystemClock().now() + std::chrono::milliseconds(20);
  if (deadline != nullptr && *deadline <= soon)
    return futex_wait(first, first_value, deadline, first_scope);
  const int woken = futex_wait(first, first_value, &soon, first_scope);
  return woken == ETIMEDOUT ? 0 : woken;
}

inline void futex_wake(const std::atomic<std::uint32_t>& word, int count,
                       FutexScope scope = FutexScope::own) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE | static_cast<int>(scope), count, nullptr, nullptr, 0);
}

inline void futex_wake_all(const std::atomic<std::uint32_t>& word) { futex_wake(word, INT_MAX); }

}  // namespace unirun
