#include "python_bindings/pools/process_files.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

namespace unirun::bindings {

int shared_file(const char* name, std::size_t size) {
  int file = ::memfd_create(name, MFD_CLOEXEC);
  if (file >= 0 && ::ftruncate(file, static_cast<off_t>(size)) != 0) close_one(file);
  return file;
}

bool send_file(int socket, int file, bool may_block) {
  char byte = 'f';
  iovec io{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(head), &file, sizeof file);
  const int flags = MSG_NOSIGNAL | (may_block ? 0 : MSG_DONTWAIT);
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, flags);
  } while (sent < 0 && errno == EINTR);
  return sent == 1;
}

int receive_file(int socket) {
  char byte = 0;
  iovec io{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  const cmsghdr* const head = got == 1 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (head == nullptr || head->cmsg_type != SCM_RIGHTS) return -1;
  int file = -1;
  std::memcpy(&file, CMSG_DATA(head), sizeof file);
  return file;
}

bool write_all(int file, std::vector<iovec>& pieces) {
  std::size_t at = 0;
  while (at < pieces.size()) {
    const auto count = static_cast<int>(std::min<std::size_t>(pieces.size() - at, IOV_MAX));
    ssize_t written = ::writev(file, &pieces[at], count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    for (; at < pieces.size() && static_cast<std::size_t>(written) >= pieces[at].iov_len; ++at)
      written -= static_cast<ssize_t>(pieces[at].iov_len);
    if (written > 0) {
      pieces[at].iov_base = static_cast<char*>(pieces[at].iov_base) + written;
      pieces[at].iov_len -= static_cast<std::size_t>(written);
    }
  }
  return true;
}

}  // namespace unirun::bindings
