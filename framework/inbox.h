// Inbox hands values from many threads to one: a lock-free list that grows at its head and is taken
// whole. Whoever puts the first value into an empty inbox is told so, and wakes the taker: one wake
// a burst.
//
// Thread: push() any; drain() one at a time. Owns the values. Unbounded: a bound is its user's.

#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace unirun {

template <class Value>
class Inbox {
 public:
  Inbox() = default;
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;
  ~Inbox() {
    while (drain([](Value&&) {}) > 0) {  // Values may push again while they die.
    }
  }

  // True if the inbox was empty.
  bool push(Value value) {
    Node* older = newest_.load(std::memory_order_relaxed);
    auto* node = new Node{std::move(value), older};
    while (!newest_.compare_exchange_weak(older, node, std::memory_order_release,
                                          std::memory_order_relaxed)) {
      node->next = older;
    }
    return older == nullptr;  // The node itself may be gone by now.
  }

  // Calls `take` with each value that was there on entry, oldest first; says how many.
  template <class Take>
  std::size_t drain(Take take) {
    Node* oldest = nullptr;  // The list begins with the newest: turn it round.
    for (Node* node = newest_.exchange(nullptr, std::memory_order_acquire); node != nullptr;) {
      Node* next = std::exchange(node->next, oldest);
      oldest = std::exchange(node, next);
    }
    std::size_t count = 0;
    for (; oldest != nullptr; ++count) {
      const std::unique_ptr<Node> node(std::exchange(oldest, oldest->next));
      take(std::move(node->value));
    }
    return count;
  }

 private:
  struct Node {
    Value value;
    Node* next;
  };

  std::atomic<Node*> newest_{nullptr};
};

}  // namespace unirun
