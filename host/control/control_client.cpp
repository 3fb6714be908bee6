#include "host/control/control_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "framework/clock.h"
#include "host/control/http_message.h"

namespace unirun {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  [[nodiscard]] int get() const { return value_; }

 private:
  int value_;
};

Error unreachable_because(const std::string& socket_path, int error_number) {
  std::string message = "no host answers at " + socket_path + ": ";
  switch (error_number) {
    case ENOENT:
      message += "there is no such socket; start the host with `unirun up`, or name its socket";
      break;
    case ECONNREFUSED:
      message += "the host behind it has ended; start it again with `unirun up`";
      break;
    case EACCES:
    case EPERM:
      message += "no right to it; only the user who runs the host, and root, may call it";
      break;
    default: message += std::strerror(error_number);
  }
  return {Errc::unreachable_host, std::move(message)};
}

Result<Descriptor> connect_to(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) {
    return Error{Errc::unreachable_host, "the socket path " + socket_path + " is longer than the " +
                                             std::to_string(sizeof address.sun_path - 1) +
                                             " bytes that a socket may have"};
  }
  socket_path.copy(address.sun_path, socket_path.size());
  Descriptor descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (descriptor.get() < 0) return Error::from_errno(errno, "socket");
  int done = 0;
  do {
    done = ::connect(descriptor.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (done < 0 && errno == EINTR);
  if (done < 0) return unreachable_because(socket_path, errno);
  return descriptor;
}

Status send_all(const Descriptor& descriptor, std::string_view bytes,
                const std::string& socket_path) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(descriptor.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    // A host that refuses a large request answers and closes before it has read all: look there.
    if (n < 0 && errno == EPIPE) return {};
    if (n < 0) return unreachable_because(socket_path, errno);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

// Waits until something can be read. Ok(false) on timeout.
Result<bool> wait_readable(const Descriptor& descriptor, const Clock& clock, Instant deadline) {
  while (true) {
    int milliseconds = -1;
    if (deadline != Instant::max()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock.now());
      if (left.count() < 0) return false;
      milliseconds =
          static_cast<int>(std::min<std::int64_t>(left.count(), std::numeric_limits<int>::max()));
    }
    pollfd look{descriptor.get(), POLLIN, 0};
    const int n = ::poll(&look, 1, milliseconds);
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return Error::from_errno(errno, "poll");
  }
}

// Feeds `reader` until it is complete or the host closes, or `go_on` says no.
Status receive(const Descriptor& descriptor, const std::string& socket_path, Duration timeout,
               HttpReader& reader, const std::function<bool()>& go_on) {
  const SystemClock clock;
  const Instant deadline = timeout == Duration::max() ? Instant::max() : clock.now() + timeout;
  std::array<char, 64 << 10> bytes;
  while (!reader.complete()) {
    const Result<bool> readable = wait_readable(descriptor, clock, deadline);
    if (!readable) return readable.error();
    if (!*readable) {
      return Error{Errc::timeout, "the host at " + socket_path + " did not answer within " +
                                      describe_duration(timeout)};
    }
    const ssize_t n = ::recv(descriptor.get(), bytes.data(), bytes.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      reader.end_of_input();
      if (reader.complete()) return {};
      return Error{Errc::unreachable_host,
                   "the host at " + socket_path + " ended before it had answered"};
    }
    const Result<std::size_t> taken = reader.feed({bytes.data(), static_cast<std::size_t>(n)});
    if (!taken) return taken.error();
    if (!go_on()) return {};
  }
  return {};
}

std::string head_of(std::string_view method, std::string_view target, std::string_view accept) {
  std::string head{method};
  head += ' ';
  head += target;
  head += " HTTP/1.1\r\nHost: unirun\r\nConnection: close\r\nAccept: ";
  head += accept;
  head += "\r\n";
  return head;
}

Errc errc_of(std::string_view word) {
  for (int code = 0; code <= static_cast<int>(Errc::unsupported); ++code) {
    if (to_string(static_cast<Errc>(code)) == word) return static_cast<Errc>(code);
  }
  return Errc::invalid_argument;
}

Result<nlohmann::json> read_answer(const HttpMessage& message, const std::string& socket_path) {
  nlohmann::json body = nlohmann::json::parse(message.body, nullptr, false);
  if (body.is_discarded()) {
    return Error{Errc::unreachable_host, "what answers at " + socket_path + " is no unirun host"};
  }
  if (message.status < 400) return body;
  const auto error = body.find("error");
  if (!body.is_object() || error == body.end() || !error->is_object()) {
    return Error{Errc::unreachable_host, "the host answered " + std::to_string(message.status)};
  }
  return Error{errc_of(error->value("code", "")), error->value("message", "")};
}

Result<nlohmann::json> ask(const std::string& socket_path, Duration timeout,
                           const std::string& request) {
  const Result<Descriptor> descriptor = connect_to(socket_path);
  if (!descriptor) return descriptor.error();
  if (Status sent = send_all(*descriptor, request, socket_path); !sent) return sent.error();
  HttpReader reader(HttpReader::Kind::response,
                    {.max_head = 64 << 10, .max_body = std::size_t{1} << 30});
  const Status received = receive(*descriptor, socket_path, timeout, reader, [] { return true; });
  if (!received) return received.error();
  return read_answer(reader.take(), socket_path);
}

// Cuts server-sent events out of the bytes of a stream. Only `data:` lines carry ours.
class EventCutter {
 public:
  // False once `on_event` said so.
  bool feed(std::string_view bytes, const std::function<bool(const nlohmann::json&)>& on_event) {
    pending_ += bytes;
    std::size_t start = 0;
    for (std::size_t end = 0; (end = pending_.find('\n', start)) != std::string::npos;
         start = end + 1) {
      const std::string_view line(pending_.data() + start, end - start);
      constexpr std::string_view mark = "data: ";
      if (line.substr(0, mark.size()) != mark) continue;
      const auto event = nlohmann::json::parse(line.substr(mark.size()), nullptr, false);
      if (!event.is_discarded() && !on_event(event)) return false;
    }
    pending_.erase(0, start);
    return true;
  }

 private:
  std::string pending_;
};

}  // namespace

ControlClient::ControlClient(std::string socket_path) : socket_path_(std::move(socket_path)) {}

Result<nlohmann::json> ControlClient::get(std::string_view target) const {
  return ask(socket_path_, timeout_, head_of("GET", target, "application/json") + "\r\n");
}

Result<nlohmann::json> ControlClient::post(std::string_view target,
                                           const nlohmann::json& body) const {
  const std::string text = body.is_null() ? "{}" : body.dump();
  return ask(socket_path_, timeout_,
             head_of("POST", target, "application/json") +
                 "Content-Type: application/json\r\nContent-Length: " +
                 std::to_string(text.size()) + "\r\n\r\n" + text);
}

Status ControlClient::stream(std::string_view target,
                             const std::function<bool(const nlohmann::json&)>& on_event) const {
  const Result<Descriptor> descriptor = connect_to(socket_path_);
  if (!descriptor) return descriptor.error();
  const std::string request = head_of("GET", target, "text/event-stream") + "\r\n";
  if (Status sent = send_all(*descriptor, request, socket_path_); !sent) return sent;

  HttpReader reader(HttpReader::Kind::response, {});
  EventCutter events;
  std::string refusal;
  bool wanted = true;
  reader.on_body([&](std::string_view piece) {
    if (reader.peek().status >= 400) {
      refusal += piece;
    } else if (wanted) {
      wanted = events.feed(piece, on_event);
    }
  });
  const Status received =
      receive(*descriptor, socket_path_, Duration::max(), reader, [&] { return wanted; });
  if (!received || !wanted) return received;
  HttpMessage message = reader.take();
  if (message.status < 400) return {};
  message.body = std::move(refusal);
  return read_answer(message, socket_path_).error();
}

std::string encode_path(std::string_view path) {
  constexpr std::string_view plain = "-._~/";
  constexpr std::string_view hex = "0123456789ABCDEF";
  std::string encoded;
  for (const unsigned char c : path) {
    const bool alphanumeric =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (alphanumeric || plain.find(static_cast<char>(c)) != std::string_view::npos) {
      encoded += static_cast<char>(c);
    } else {
      encoded += '%';
      encoded += hex[c >> 4];
      encoded += hex[c & 15];
    }
  }
  return encoded;
}

}  // namespace unirun
