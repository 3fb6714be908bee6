#include "executors/python/state/state_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <list>
#include <utility>
#include <vector>

#include "executors/thread/service_thread.h"

namespace unirun::python {
namespace {

constexpr std::size_t head_bytes = sizeof(std::uint32_t);
constexpr int stream_socket = SOCK_STREAM | SOCK_CLOEXEC;

Error system_error(Errc code, std::string_view what) {
  return {.code = code, .message = fmt::format("shared state: {}: {}", what, std::strerror(errno))};
}

std::string framed(std::string_view bytes) {
  const auto length = static_cast<std::uint32_t>(bytes.size());
  std::string frame(reinterpret_cast<const char*>(&length), head_bytes);
  return frame.append(bytes);
}

// How long the frame is that begins here; nothing, as long as that has not come.
std::optional<std::size_t> length_of(std::string_view bytes) {
  std::uint32_t length = 0;
  if (bytes.size() < head_bytes) return std::nullopt;
  std::memcpy(&length, bytes.data(), head_bytes);
  return length;
}

// ---- Addresses ----

// "PID-NAME": a name that the kernel has given, and who must be listening there, since the name is
// another's once that process has ended.
struct Address {
  pid_t process = 0;
  std::string_view name;
};

std::optional<Address> parse(std::string_view text) {
  Address address;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, address.process);
  if (error != std::errc() || rest == end || *rest != '-') return std::nullopt;
  address.name = text.substr(static_cast<std::size_t>(rest - text.data()) + 1);
  if (address.name.empty() || address.name.size() >= sizeof(sockaddr_un::sun_path) - 1)
    return std::nullopt;
  return address;
}

// Its peer is this user's, and that process if one is named.
bool is_peer(int socket, std::optional<pid_t> process) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() && (!process || peer.pid == *process);
}

// ---- The descriptor ----

union ControlBytes {
  cmsghdr header;  // Aligns the rest.
  std::array<char, CMSG_SPACE(sizeof(int))> bytes;
};

msghdr message_of(iovec& part, ControlBytes& control) {
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  return message;
}

bool send_descriptor(int socket, int descriptor) {
  char byte = 1;
  iovec part{&byte, 1};
  ControlBytes control{};
  msghdr message = message_of(part, control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptor);
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

int receive_page(int socket) {
  char byte = 0;
  iovec part{&byte, 1};
  ControlBytes control{};
  msghdr message = message_of(part, control);
  ssize_t received = 0;
  do received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  const cmsghdr* const header = received == 1 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return -1;
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  return descriptor;
}

// ---- The server ----

// A worker process that asks. It is not read from while it does not read.
class Peer {
 public:
  explicit Peer(int socket) : socket_(socket) {}
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer() { ::close(socket_); }

  [[nodiscard]] pollfd wish() const {
    const int event = answers_.empty() ? POLLIN : POLLOUT;
    return {socket_, static_cast<short>(event), 0};
  }
  // False: it has gone.
  [[nodiscard]] bool serve(const SharedState& state) {
    if (answers_.empty() && !read()) return false;
    while (const auto length = length_of(requests_)) {
      const std::size_t whole = head_bytes + *length;
      if (requests_.size() < whole) break;
      answers_ += framed(state.serve(std::string_view(requests_).substr(head_bytes, *length)));
      requests_.erase(0, whole);
    }
    return write();
  }

 private:
  [[nodiscard]] bool read() {
    std::array<char, std::size_t{64} << 10> buffer;
    const ssize_t received = ::recv(socket_, buffer.data(), buffer.size(), 0);
    if (received > 0) requests_.append(buffer.data(), static_cast<std::size_t>(received));
    return received > 0 || (received < 0 && (errno == EAGAIN || errno == EINTR));
  }
  [[nodiscard]] bool write() {
    if (answers_.empty()) return true;
    const ssize_t sent = ::send(socket_, answers_.data(), answers_.size(), MSG_NOSIGNAL);
    if (sent > 0) answers_.erase(0, static_cast<std::size_t>(sent));
    return sent >= 0 || errno == EAGAIN || errno == EINTR;
  }

  const int socket_;
  std::string requests_;
  std::string answers_;
};

class StateServer {
 public:
  StateServer(int listener, const SharedState& state) : listener_(listener), state_(state) {}

  [[noreturn]] void run() {
    for (;;) {
      std::vector<pollfd> watched{{listener_, POLLIN, 0}};
      for (const Peer& peer : peers_) watched.push_back(peer.wish());
      if (::poll(watched.data(), watched.size(), -1) <= 0) continue;
      auto at = watched.begin() + 1;
      for (auto peer = peers_.begin(); peer != peers_.end(); ++at) {
        const bool stays = at->revents == 0 || peer->serve(state_);
        peer = stays ? std::next(peer) : peers_.erase(peer);
      }
      if (watched.front().revents != 0) accept();
    }
  }

 private:
  void accept() {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket < 0) return;
    if (is_peer(socket, std::nullopt) && send_descriptor(socket, state_.counters_descriptor())) {
      peers_.emplace_back(socket);
    } else {
      ::close(socket);
    }
  }

  const int listener_;
  const SharedState& state_;
  std::list<Peer> peers_;
};

}  // namespace

Result<std::string> serve_state(const SharedState& state) {
  const int listener = ::socket(AF_UNIX, stream_socket, 0);
  if (listener < 0) return system_error(Errc::memory_limit, "socket");
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  socklen_t size = sizeof(sa_family_t);  // Nothing of a name: the kernel gives one.
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&name), size) != 0 ||
      ::listen(listener, SOMAXCONN) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&name), &(size = sizeof name)) != 0) {
    Error error = system_error(Errc::memory_limit, "listen");
    ::close(listener);
    return error;
  }
  auto thread = ServiceThread::start("unirun-state",
                                     [listener, &state] { StateServer(listener, state).run(); });
  if (!thread.ok()) {
    ::close(listener);
    return Error{.code = Errc::unsupported, .message = thread.error().message};
  }
  thread->detach();
  const std::size_t begin = offsetof(sockaddr_un, sun_path) + 1;
  return fmt::format("{}-{}", ::getpid(), std::string_view(name.sun_path + 1, size - begin));
}

// ---- The link ----

Result<StateLink> StateLink::connect(std::string_view text) {
  const Error nobody{
      .code = Errc::worker_lost,
      .message = fmt::format("shared state: nobody answers at '{}': the program whose worker this "
                             "process is has gone",
                             text.substr(0, 100))};
  const std::optional<Address> address = parse(text);
  if (!address) return nobody;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  address->name.copy(name.sun_path + 1, address->name.size());
  const auto size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + address->name.size());
  const int socket = ::socket(AF_UNIX, stream_socket, 0);
  if (socket < 0) return system_error(Errc::memory_limit, "socket");
  int counters = -1;
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&name), size) == 0 &&
      is_peer(socket, address->process))
    counters = receive_page(socket);
  if (counters >= 0) return StateLink(socket, counters);
  ::close(socket);
  return nobody;
}

StateLink::StateLink(StateLink&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)), counters_(std::exchange(other.counters_, -1)) {}

StateLink::~StateLink() {
  if (socket_ >= 0) ::close(socket_);
  if (counters_ >= 0) ::close(counters_);
}

namespace {

bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool receive_all(int socket, char* bytes, std::size_t size) {
  while (size > 0) {
    const ssize_t received = ::recv(socket, bytes, size, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    bytes += received;
    size -= static_cast<std::size_t>(received);
  }
  return true;
}

}  // namespace

Result<std::string> StateLink::ask(std::string_view request) {
  const std::lock_guard lock(mutex_);
  std::array<char, head_bytes> head{};
  if (send_all(socket_, framed(request)) && receive_all(socket_, head.data(), head.size())) {
    std::string answer(*length_of({head.data(), head.size()}), '\0');
    if (receive_all(socket_, answer.data(), answer.size())) return answer;
  }
  return Error{.code = Errc::worker_lost,
               .message = "shared state: the program whose worker this process is has gone"};
}

}  // namespace unirun::python
