// DescriptorWatches tells who waits for a descriptor that it is ready. Over an epoll of its own,
// which the event loop watches as if it were one descriptor: a host has three watches a service, a
// uv_poll_t with what surrounds it takes 300 bytes, and one of these 80.
//
// Thread: the loop's. Owned by the loop; a watch may outlive it.

#pragma once

#include <functional>
#include <memory>

#include "framework/event_loop.h"
#include "framework/result.h"

namespace unirun {

class DescriptorWatches {
 public:
  // Aborts by name if the system has no descriptor left for an epoll.
  DescriptorWatches();
  ~DescriptorWatches();
  DescriptorWatches(const DescriptorWatches&) = delete;
  DescriptorWatches& operator=(const DescriptorWatches&) = delete;

  // Readable while a watch has something to be told.
  [[nodiscard]] int descriptor() const { return epoll_; }

  // As EventLoop::try_watch().
  [[nodiscard]] Result<Watch> add(int descriptor, Interest interest,
                                  std::function<void(Interest)> on_ready);

  // Tells each watch that has something, once; it may end any watch, and come back here.
  void tell() noexcept;

 private:
  struct Watched;
  struct Batch;

  void end(Watched& watched) noexcept;

  int epoll_ = -1;
  Watched* first_ = nullptr;
  Batch* telling_ = nullptr;  // The innermost.
};

}  // namespace unirun
