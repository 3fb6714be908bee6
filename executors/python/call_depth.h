// CallDepth counts how often a chain of calls has gone from Python to C++: Python that calls C++
// that calls Python stands at depth 1. What such code waits for elsewhere goes on counting there.
//
// Thread: each its own.

#pragma once

#include <cstdint>
#include <utility>

namespace unirun::python {

class CallDepth {
 public:
  [[nodiscard]] static std::uint32_t current() { return depth; }

  // Stands at `at` for a scope.
  explicit CallDepth(std::uint32_t at) : outer_(std::exchange(depth, at)) {}
  ~CallDepth() { depth = outer_; }
  CallDepth(const CallDepth&) = delete;
  CallDepth& operator=(const CallDepth&) = delete;

 private:
  inline static thread_local std::uint32_t depth = 0;
  const std::uint32_t outer_;
};

}  // namespace unirun::python
