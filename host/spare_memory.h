// Spare memory: what the allocator keeps although it is free, and the pages of code and constants
// that were needed once. A page that is needed after all comes back by a minor fault.

#pragma once

#include <cstdint>

#include "framework/event_bus.h"
#include "framework/event_loop.h"

namespace unirun {

// For the start of a program of few threads: keeps the allocator from making an arena for each.
// Thread: any.
void keep_heap_small();

// Gives spare memory back after the start and after every burst of events, whose backlog in queues
// has made the heap larger than the host. Has no timer, and wakes nobody, while little happens.
// Thread: the loop's.
class SpareMemory {
 public:
  // Both outlive it.
  SpareMemory(EventLoop& loop, EventBus& bus);
  ~SpareMemory();
  SpareMemory(const SpareMemory&) = delete;
  SpareMemory& operator=(const SpareMemory&) = delete;

  // When what goes on now is over, a start for example.
  void release_soon();

 private:
  void release();

  EventLoop& loop_;
  std::uint64_t events_ = 0;  // Since memory was given back.
  TimerId timer_ = TimerId::none;
  Subscription subscription_;
};

}  // namespace unirun
