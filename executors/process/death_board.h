// DeathBoard learns of a worker's death before the kernel has torn its memory down. Each worker's
// main thread holds a robust mutex in memory that it shares with the host; the kernel releases it
// (FUTEX_OWNER_DIED) as soon as that thread dies, at any size in 0.1 ms, where a pidfd tells only
// once all memory is gone: 37 ms at 500 MB.
//
// A released lock says "look": a thread that ends, or an exec, releases it as well.
//
// Thread: the loop's. Waiter threads of its own, one for 127 places, wait in futex_waitv (Linux
// 5.16); without that call there is no board, and pidfds alone tell.

#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

#include "framework/event_loop.h"

namespace unirun {

class DeathBoard {
 public:
  explicit DeathBoard(EventLoop& loop);
  ~DeathBoard();
  DeathBoard(const DeathBoard&) = delete;
  DeathBoard& operator=(const DeathBoard&) = delete;

  // The shared memory, for a template; -1 if there is none.
  [[nodiscard]] int descriptor() const;

  // A place for one worker, by its offset in that memory: nothing if all are taken.
  [[nodiscard]] std::optional<std::size_t> take();

  // Calls `on_released` on the loop, once, when who holds the place's lock lets go of it; at once
  // if nobody holds it. REQUIRES: taken; the worker has said that it holds it.
  void watch(std::size_t place, std::function<void()> on_released);

  // REQUIRES: taken, and its worker is dead. Ends the watch.
  void give_back(std::size_t place);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
