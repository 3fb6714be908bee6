// Wakes collects the threads that are to be woken, until the GIL is released: a thread that wakes
// while its waker holds the GIL runs into it and sleeps again, two switches for nothing.

#pragma once

#include <sys/eventfd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "framework/futex.h"

namespace unirun::bindings {

class Wakes {
 public:
  Wakes() = default;
  Wakes(const Wakes&) = delete;
  Wakes& operator=(const Wakes&) = delete;
  ~Wakes() { ring(); }

  // Whoever waits on `word` is woken by ring(); the word itself may be gone by then, for then
  // nobody waits on it. More than a handful are woken at once.
  void add(std::atomic<std::uint32_t>& word) {
    if (count_ == words_.size()) ring();
    words_[count_++] = &word;
  }
  // One that a loop watches; it stays open until ring() at least.
  void add_eventfd(int descriptor) {
    if (descriptor_ >= 0) ring();
    descriptor_ = descriptor;
  }
  // Best without the GIL.
  void ring() {
    for (std::size_t at = 0; at < count_; ++at) futex_wake_all(*words_[at]);
    count_ = 0;
    if (descriptor_ >= 0) ::eventfd_write(descriptor_, 1);
    descriptor_ = -1;
  }
  [[nodiscard]] bool empty() const { return count_ == 0 && descriptor_ < 0; }

 private:
  std::array<std::atomic<std::uint32_t>*, 8> words_{};
  std::size_t count_ = 0;
  int descriptor_ = -1;
};

}  // namespace unirun::bindings
