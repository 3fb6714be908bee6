// ServiceThread is a thread that may have to be left to itself. It takes no signal but those of its
// own faults: what is sent to the process is the host's.
//
// Thread: the one that owns it. Move-only. REQUIRES: joined or detached before its end.

#pragma once

#include <pthread.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "executors/thread/thread_stack.h"
#include "framework/result.h"

namespace unirun {

class ServiceThread {
 public:
  // Runs `body`, which must not throw, under `name` (cut to 15 bytes, as the kernel has it).
  // `stack_bytes` 0: as the system has it. Errors: start_failed, with the limit that was met.
  [[nodiscard]] static Result<ServiceThread> start(std::string name, std::function<void()> body,
                                                   std::size_t stack_bytes = 0);
  // On that stack, which is to outlive the thread.
  [[nodiscard]] static Result<ServiceThread> start(std::string name, std::function<void()> body,
                                                   const ThreadStack& stack);

  ServiceThread(ServiceThread&& other) noexcept;
  ServiceThread& operator=(ServiceThread&& other) noexcept;
  ~ServiceThread();

  // True once it has ended, and all that it had is free. Never waits. REQUIRES: not detached.
  [[nodiscard]] bool try_join();

  // Waits for that. REQUIRES: not detached.
  void join();

  // Whatever becomes of it.
  void detach();

 private:
  using SetStack = std::function<int(pthread_attr_t&)>;  // An errno, or 0.

  static Result<ServiceThread> start_with(std::string name, std::function<void()> body,
                                          const SetStack& set_stack);
  explicit ServiceThread(pthread_t thread) : thread_(thread) {}

  std::optional<pthread_t> thread_;  // Nothing: joined, detached or moved from.
};

}  // namespace unirun
