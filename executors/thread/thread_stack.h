// ThreadStack is the stack of a thread that will use much of it at once: of huge pages, where the
// system has them to give, for a fault for each small one takes longer than what is done in it.
//
// Thread: any, one at a time. Move-only.

#pragma once

#include <cstddef>
#include <utility>

#include "framework/result.h"

namespace unirun {

class ThreadStack {
 public:
  // Errors: start_failed, when there is no memory to be had.
  [[nodiscard]] static Result<ThreadStack> make(std::size_t bytes);

  ThreadStack(ThreadStack&& other) noexcept
      : mapped_(std::exchange(other.mapped_, nullptr)),
        mapped_bytes_(other.mapped_bytes_),
        lowest_(other.lowest_),
        bytes_(other.bytes_) {}
  ThreadStack& operator=(ThreadStack&& other) = delete;
  ~ThreadStack();

  [[nodiscard]] void* lowest() const { return lowest_; }
  [[nodiscard]] std::size_t size() const { return bytes_; }

 private:
  ThreadStack() = default;

  void* mapped_ = nullptr;  // With a guard below the stack.
  std::size_t mapped_bytes_ = 0;
  void* lowest_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace unirun
