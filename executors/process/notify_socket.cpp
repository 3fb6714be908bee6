#include "executors/process/notify_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "executors/process/host_mark.h"
#include "executors/process/process_table.h"

namespace unirun {
namespace {

// The credentials that the kernel puts beside each datagram.
bool credentials_of(msghdr& message, ucred& sender) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_CREDENTIALS) {
      std::memcpy(&sender, CMSG_DATA(part), sizeof sender);
      return true;
    }
  }
  return false;
}

// Somebody may send descriptors along (FDSTORE=1). We asked for none, and keep none.
void close_descriptors(msghdr& message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(part) + i * sizeof(int), sizeof descriptor);
      ::close(descriptor);
    }
  }
}

}  // namespace

Notification parse_notification(std::string_view text) {
  Notification notification;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line == "READY=1") notification.ready = true;
    if (line == "STOPPING=1") notification.stopping = true;
    if (line == "WATCHDOG=1") notification.watchdog = true;
    if (line == "WATCHDOG=trigger") notification.watchdog_trigger = true;
    if (line.rfind("STATUS=", 0) == 0) {
      notification.has_status = true;
      notification.status = line.substr(7);
    }
  }
  return notification;
}

NotifySocket::NotifySocket(EventLoop& loop,
                           std::function<void(const Notification&)> on_notification)
    : loop_(loop), on_notification_(std::move(on_notification)) {}

Result<std::unique_ptr<NotifySocket>> NotifySocket::open(
    EventLoop& loop, std::uint64_t chance,
    std::function<void(const Notification&)> on_notification) {
  std::unique_ptr<NotifySocket> self(new NotifySocket(loop, std::move(on_notification)));
  self->name_ = fmt::format("@unirun/notify/{:016x}", chance);
  self->socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!self->socket_) return Error::from_errno(errno, "notify socket");

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, self->name_.data() + 1, self->name_.size() - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + self->name_.size());
  if (::bind(self->socket_.get(), reinterpret_cast<sockaddr*>(&address), length) < 0) {
    return Error::from_errno(errno, "notify socket: bind");
  }
  constexpr int yes = 1;
  if (::setsockopt(self->socket_.get(), SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) < 0) {
    return Error::from_errno(errno, "notify socket: SO_PASSCRED");
  }
  return self;
}

void NotifySocket::accept_from(pid_t group, uid_t user, std::string launch_mark) {
  group_ = group;
  user_ = user;
  launch_mark_ = std::move(launch_mark);
  watch_ = loop_.watch(socket_.get(), Interest::readable, [this](Interest) { read(); });
}

// A sender that has ended already (systemd-notify does) can be asked nothing; then it is enough
// that it knew the name and is of the right user.
bool NotifySocket::is_ours(pid_t pid, uid_t user) const {
  if (user != user_ && user != 0) return false;
  const pid_t group = ::getpgid(pid);
  if (group == group_) return true;
  if (group < 0) return errno == ESRCH;
  char launch[32];
  return read_environment(pid, launch_mark_variable, launch, sizeof launch) == Found::yes &&
         launch_mark_ == launch;
}

void NotifySocket::read() {
  constexpr int max_reads = 32;
  for (int i = 0; i < max_reads; ++i) {
    char text[4096];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int) * 253)];
    iovec part{text, sizeof text};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t count = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;
    close_descriptors(message);
    ucred sender{};
    if (!credentials_of(message, sender) || !is_ours(sender.pid, sender.uid)) continue;
    on_notification_(parse_notification({text, static_cast<std::size_t>(count)}));
  }
}

}  // namespace unirun
