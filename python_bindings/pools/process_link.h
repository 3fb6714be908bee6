// What a pool and its worker processes share: for each worker memory with two rings, and for all of
// them one word that says whom in the pool's process a worker is to wake.
//
// Thread: any, in both processes.

#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "python_bindings/pools/ring.h"

namespace unirun::bindings {

// Who in the pool's process sleeps and is to be woken for results. Whoever wakes it writes
// `nobody`.
enum class Listener : std::uint32_t {
  nobody,        // Somebody is awake and looks once more before sleeping.
  waiter,        // A thread in result(), on this word.
  lazy_waiter,   // The same; it looks by itself soon, so wake it when there is nothing more to do.
  manager,       // The manager, on the pool's eventfd.
  lazy_manager,  // The same; a timer wakes it.
  patient_manager,  // A result() has just left and another is likely to come: give it a moment.
};

class PoolWords {
 public:
  [[nodiscard]] Listener listener() const { return static_cast<Listener>(word_.load()); }
  void set(Listener listener) { word_.store(static_cast<std::uint32_t>(listener)); }
  bool replace(Listener expected, Listener listener) {
    auto before = static_cast<std::uint32_t>(expected);
    return word_.compare_exchange_strong(before, static_cast<std::uint32_t>(listener));
  }
  [[nodiscard]] const std::atomic<std::uint32_t>& futex() const { return word_; }

  // Wakes whoever sleeps, once.
  void signal(int event) {
    const auto seen =
        static_cast<Listener>(word_.exchange(static_cast<std::uint32_t>(Listener::nobody)));
    if (seen == Listener::waiter || seen == Listener::lazy_waiter) {
      futex_wake(word_, 1, FutexScope::shared);
    } else if (seen != Listener::nobody) {
      const std::uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = ::write(event, &one, sizeof one);
    }
  }

 private:
  std::atomic<std::uint32_t> word_{0};
};

struct WorkerWords {
  RingWords tasks;
  RingWords results;
};

constexpr std::size_t words_size = 4096;
constexpr std::size_t worker_memory_size = words_size + 2 * ring_capacity;

// A mapping of memory that processes share. A forked child has it too, and unmaps its own. Empty
// where it could not be mapped: errno says why.
class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(int file, std::size_t size) : size_(size) {
    void* const start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (start != MAP_FAILED) start_ = static_cast<char*>(start);
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() {
    if (start_ != nullptr) ::munmap(start_, size_);
  }
  [[nodiscard]] char* start() const { return start_; }

 private:
  char* start_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace unirun::bindings
