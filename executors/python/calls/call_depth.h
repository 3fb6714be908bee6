// CallDepth counts how often a chain of calls has gone from Python to C++: Python that calls C++
// that calls Python stands at depth 1. What such code waits for elsewhere goes on counting there.
//
// Thread: each its own; the limit any.

#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace unirun::python {

class CallDepth {
 public:
  [[nodiscard]] static std::uint32_t current() { return depth; }

  // No Python code runs deeper. One for the process: Config::max_depth.
  [[nodiscard]] static std::uint32_t limit() { return most.load(std::memory_order_relaxed); }
  static void set_limit(std::uint32_t limit) { most.store(limit, std::memory_order_relaxed); }

  // Stands at `at` for a scope.
  explicit CallDepth(std::uint32_t at) : outer_(std::exchange(depth, at)) {}
  ~CallDepth() { depth = outer_; }
  CallDepth(const CallDepth&) = delete;
  CallDepth& operator=(const CallDepth&) = delete;

 private:
  inline static thread_local std::uint32_t depth = 0;
  inline static std::atomic<std::uint32_t> most{10000};
  const std::uint32_t outer_;
};

}  // namespace unirun::python
