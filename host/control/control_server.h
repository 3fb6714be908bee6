// ControlServer is the host's door for other processes: HTTP with JSON and server-sent events on a
// unix socket that only the host's own user, and root, may use.
//
// It has one thread with a loop of its own, asleep while nobody calls: parsing, rendering and
// slow clients never take time from supervision. It reaches the host through a HostHandle only.
//
// Thread: the host's loop.

#pragma once

#include <functional>
#include <memory>
#include <string>

#include "executors/output/output_store.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/result.h"
#include "host/control/http_server.h"
#include "host/host_handle.h"

namespace unirun {

class ControlServer {
 public:
  // All outlive the server.
  ControlServer(EventLoop& loop, EventBus& events, OutputStore& output, HostHandle host,
                HttpLimits limits = {});
  ~ControlServer();  // Whoever is still connected is cut off.
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // Takes over `listening` (see listen_on()) and answers from now on. Call once.
  void start(int listening);

  // Takes no new callers, ends streams once they have been sent what they had coming, and calls
  // `done` on the host's loop, at the latest after `patience`. Call at most once, after start().
  void finish(Duration patience, std::function<void()> done);

 private:
  class Desk;
  std::shared_ptr<Desk> desk_;  // Replies that come late look whether it is still there.
};

// A listening unix socket, 0600, in place of a dead one of the same name. Errors: io, with the path
// and what would be right. REQUIRES: nobody else listens there (a lock says so).
[[nodiscard]] Result<int> listen_on(const std::string& socket_path);

}  // namespace unirun
