// MpmcQueue hands values from many threads to many, without a lock: moodycamel's concurrent queue
// with a bound that is exact. A full one says so at once.
//
// Thread: any. Owns the values. In order for each thread that pushes; between those threads there
// is none.

#pragma once

#include <concurrentqueue/concurrentqueue.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <iterator>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "framework/require.h"

namespace unirun::python {

// `Traits` are moodycamel's: tests take smaller indices, to see them wrap around.
template <class T, class Traits = moodycamel::ConcurrentQueueDefaultTraits>
class MpmcQueue {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "a move that throws would lose the value between two threads");

 public:
  // For `capacity` values, rounded up to a power of two; or for exactly `limit`, if that is less.
  // Memory comes as it is needed and stays until the end.
  // REQUIRES: 0 < capacity <= max_capacity, 0 < limit.
  explicit MpmcQueue(std::size_t capacity, std::size_t limit = max_capacity)
      : capacity_(rounded(capacity)), limit_(std::min(limit, capacity_)) {
    UNIRUN_REQUIRE(limit > 0);
  }
  MpmcQueue(const MpmcQueue&) = delete;
  MpmcQueue& operator=(const MpmcQueue&) = delete;

  static constexpr std::size_t max_capacity = std::size_t{1} << 40;
  [[nodiscard]] std::size_t capacity() const { return capacity_; }
  // How many values it takes: one more is refused.
  [[nodiscard]] std::size_t limit() const { return limit_; }

  // False if it is full or there is no memory: `value` is then as it was.
  [[nodiscard]] bool try_push(T&& value) {
    if (reserve(1) == 0) return false;
    if (queue_.enqueue(std::move(value))) return true;
    count_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }

  // Moves away as many of the first values as there is room for, and says how many.
  [[nodiscard]] std::size_t try_push_batch(std::span<T> values) {
    const std::size_t count = reserve(values.size());
    if (count == 0) return 0;
    if (queue_.enqueue_bulk(std::make_move_iterator(values.data()), count)) return count;
    count_.fetch_sub(count, std::memory_order_relaxed);
    return 0;
  }

  // A value, or nothing. A value whose push has returned is found, unless others are taking it or
  // one just like it; who goes to sleep announces that first and looks once more.
  [[nodiscard]] std::optional<T> try_pop() {
    std::optional<T> value;
    Taken taken{value};
    if (queue_.try_dequeue(taken)) count_.fetch_sub(1, std::memory_order_relaxed);
    return value;
  }

  // Appends at most `max` values to `into`, and says how many.
  std::size_t try_pop_batch(std::vector<T>& into, std::size_t max) {
    max = std::min(max, size_approx());
    if (max == 0) return 0;
    into.reserve(into.size() + max);  // May throw: before anything has moved.
    const std::size_t count = queue_.try_dequeue_bulk(std::back_inserter(into), max);
    count_.fetch_sub(count, std::memory_order_relaxed);
    return count;
  }

  // Values in the queue, and those that are just being pushed or popped.
  [[nodiscard]] std::size_t size_approx() const { return count_.load(std::memory_order_relaxed); }

 private:
  // Where moodycamel moves a value to: it assigns, T need only be constructible.
  struct Taken {
    std::optional<T>& value;
    void operator=(T&& moved) noexcept { value.emplace(std::move(moved)); }
  };

  static std::size_t rounded(std::size_t capacity) {
    UNIRUN_REQUIRE(capacity > 0 && capacity <= max_capacity);
    return std::bit_ceil(capacity);
  }

  // Takes up to `wanted` places, never more than there are.
  std::size_t reserve(std::size_t wanted) {
    std::size_t count = count_.load(std::memory_order_relaxed);
    std::size_t places = 0;
    do {
      places = std::min(wanted, limit_ - count);
      if (places == 0) return 0;
    } while (!count_.compare_exchange_weak(count, count + places, std::memory_order_relaxed));
    return places;
  }

  const std::size_t capacity_;
  const std::size_t limit_;
  moodycamel::ConcurrentQueue<T, Traits> queue_{32};
  alignas(64) std::atomic<std::size_t> count_{0};
};

// As the design of the executor calls it.
template <class T>
using LockFreeMPMCQueue = MpmcQueue<T>;

}  // namespace unirun::python
