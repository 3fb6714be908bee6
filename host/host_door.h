// HostDoor is the host's end of its HostHandles: it lets requests of other threads in while the
// host lives, and turns them away afterwards.
//
// Thread: the loop's. Owner: the host.

#pragma once

#include <memory>

#include "framework/event_loop.h"
#include "host/host_handle.h"

namespace unirun {

class RequestHandler;

class HostDoor {
 public:
  // `loop` outlives the door.
  explicit HostDoor(EventLoop& loop);
  ~HostDoor();  // Closes.
  HostDoor(const HostDoor&) = delete;
  HostDoor& operator=(const HostDoor&) = delete;

  // Requests go to `handler` from now on. It outlives the door, or close() comes first.
  void open(RequestHandler& handler);

  // Whoever asks from now on, or waits, is told that the host has ended.
  void close();

  [[nodiscard]] HostHandle handle() const;

 private:
  std::shared_ptr<HostHandle::Gate> gate_;
};

}  // namespace unirun
