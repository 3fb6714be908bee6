// NotifySocket is the host's end of systemd's notification protocol for one run: datagrams of
// NAME=value lines on a socket named in NOTIFY_SOCKET. Its name is in the abstract namespace (no
// file to clean up) and holds 64 bits of chance, so only those who were given it know it.
//
// Thread: the loop's.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "executors/process/unique_fd.h"
#include "framework/event_loop.h"
#include "framework/result.h"

namespace unirun {

struct Notification {
  bool ready = false;
  bool stopping = false;
  bool watchdog = false;          // WATCHDOG=1
  bool watchdog_trigger = false;  // WATCHDOG=trigger: "take me for dead".
  bool has_status = false;
  std::string status;
};

class NotifySocket {
 public:
  // `on_notification` must not destroy the socket.
  [[nodiscard]] static Result<std::unique_ptr<NotifySocket>> open(
      EventLoop& loop, std::uint64_t chance,
      std::function<void(const Notification&)> on_notification);

  // For NOTIFY_SOCKET: "@unirun/notify/...".
  [[nodiscard]] const std::string& name() const { return name_; }

  // From now on only the run's own processes are heard: those of its group, and others of its user
  // that carry its mark. `user` is the one the service runs as.
  void accept_from(pid_t group, uid_t user, std::string launch_mark);

  // Takes what has arrived.
  void read();

 private:
  NotifySocket(EventLoop& loop, std::function<void(const Notification&)> on_notification);

  [[nodiscard]] bool is_ours(pid_t pid, uid_t user) const;

  EventLoop& loop_;
  std::function<void(const Notification&)> on_notification_;
  std::string name_;
  pid_t group_ = 0;
  uid_t user_ = 0;
  std::string launch_mark_;
  UniqueFd socket_;
  Watch watch_;
};

// The fields that we know, of the last line of each name; the rest is ignored, as the protocol has
// it.
[[nodiscard]] Notification parse_notification(std::string_view text);

}  // namespace unirun
