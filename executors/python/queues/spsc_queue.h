// SpscQueue hands values from one thread to one other, in order: a ring that never grows, never
// waits and takes no lock. A full one says so at once.
//
// Thread: try_push() and try_push_batch() one thread, try_pop() and try_pop_batch() one thread; the
// rest any. Owns the values. Both sides may change hands, if one has seen the other stop.
//
// Ours, unlike MpmcQueue: moodycamel's ring of this kind counts with two semaphores that both sides
// write, has no batches, and a thread sanitizer cannot see through it (benchmarks/python).

#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "framework/require.h"

namespace unirun::python {

template <class T>
class SpscQueue {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "a move that throws would lose the value between two threads");

 public:
  // For at least `capacity` values: rounded up to a power of two. `first_index` is for tests that
  // want the 64-bit indices to wrap around before the sun burns out.
  // REQUIRES: 0 < capacity <= max_capacity.
  explicit SpscQueue(std::size_t capacity, std::uint64_t first_index = 0)
      : mask_(rounded(capacity) - 1),
        slots_(std::make_unique<Slot[]>(mask_ + 1)),
        tail_(first_index),
        head_seen_(first_index),
        head_(first_index),
        tail_seen_(first_index) {}
  SpscQueue(const SpscQueue&) = delete;
  SpscQueue& operator=(const SpscQueue&) = delete;
  ~SpscQueue() {
    while (try_pop()) {
    }
  }

  static constexpr std::size_t max_capacity = std::size_t{1} << 40;
  [[nodiscard]] std::size_t capacity() const { return mask_ + 1; }

  // False if it is full: `value` is then as it was.
  [[nodiscard]] bool try_push(T&& value) {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (room(tail, 1) == 0) return false;
    std::construct_at(at(tail), std::move(value));
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // Moves away as many of the first values as there is room for, and says how many. They appear to
  // the other side at once.
  [[nodiscard]] std::size_t try_push_batch(std::span<T> values) {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const std::size_t count = std::min(values.size(), room(tail, values.size()));
    for (std::size_t i = 0; i < count; ++i) std::construct_at(at(tail + i), std::move(values[i]));
    tail_.store(tail + count, std::memory_order_release);
    return count;
  }

  // The oldest value, or nothing.
  [[nodiscard]] std::optional<T> try_pop() {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (ready(head, 1) == 0) return std::nullopt;
    std::optional<T> value(std::move(*at(head)));
    std::destroy_at(at(head));
    head_.store(head + 1, std::memory_order_release);
    return value;
  }

  // Appends at most `max` values to `into`, oldest first, and says how many.
  std::size_t try_pop_batch(std::vector<T>& into, std::size_t max) {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const std::size_t count = std::min(max, ready(head, max));
    into.reserve(into.size() + count);  // May throw: before anything has moved.
    for (std::size_t i = 0; i < count; ++i) {
      into.push_back(std::move(*at(head + i)));
      std::destroy_at(at(head + i));
    }
    head_.store(head + count, std::memory_order_release);
    return count;
  }

  // Exact on a thread that is both sides; on others it was true a moment ago.
  [[nodiscard]] std::size_t size_approx() const {
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);
    return std::min<std::uint64_t>(tail - head, capacity());
  }

 private:
  struct Slot {
    alignas(T) std::byte bytes[sizeof(T)];
  };

  static std::size_t rounded(std::size_t capacity) {
    UNIRUN_REQUIRE(capacity > 0 && capacity <= max_capacity);
    return std::bit_ceil(capacity);
  }

  T* at(std::uint64_t index) {
    return std::launder(reinterpret_cast<T*>(slots_[index & mask_].bytes));
  }

  // Each side looks at the other's index only when what it saw last is not enough: their cache
  // lines rest where they are.
  std::size_t room(std::uint64_t tail, std::size_t wanted) {
    if (capacity() - (tail - head_seen_) < wanted)
      head_seen_ = head_.load(std::memory_order_acquire);
    return capacity() - (tail - head_seen_);
  }
  std::size_t ready(std::uint64_t head, std::size_t wanted) {
    if (tail_seen_ - head < wanted) tail_seen_ = tail_.load(std::memory_order_acquire);
    return tail_seen_ - head;
  }

  const std::size_t mask_;
  const std::unique_ptr<Slot[]> slots_;

  alignas(64) std::atomic<std::uint64_t> tail_;  // Where the next value goes. The pusher writes it.
  std::uint64_t head_seen_;                      // The pusher's.
  alignas(64) std::atomic<std::uint64_t> head_;  // The oldest value. The taker writes it.
  std::uint64_t tail_seen_;                      // The taker's.
};

// As the design of the executor calls it.
template <class T>
using LockFreeSPSCQueue = SpscQueue<T>;

}  // namespace unirun::python
