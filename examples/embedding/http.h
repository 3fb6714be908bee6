// As much of HTTP/1.1 as the examples need: connections on one event loop, one request after the
// other on each, and what answers them is a coroutine.

#pragma once

#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "unirun/framework/awaitables/descriptor_wait.h"
#include "unirun/framework/event_loop.h"
#include "unirun/framework/task.h"

namespace http {

struct Request {
  std::string method;
  std::string target;  // "/path?query".
  std::vector<std::pair<std::string, std::string>> headers{};
  std::string body{};

  std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
  std::string_view query() const {
    const std::size_t mark = target.find('?');
    return mark == std::string::npos ? "" : std::string_view(target).substr(mark + 1);
  }
};

using Response = std::string;  // As it is sent.
using Handler = std::function<unirun::Task<Response>(Request)>;

inline Response response(std::string_view status, std::string_view body) {
  std::string text = "HTTP/1.1 ";
  text.append(status).append("\r\ncontent-length: ").append(std::to_string(body.size()));
  return text.append("\r\n\r\n").append(body);
}

// The head of a request, without the empty line at its end.
inline Request parse(std::string_view head) {
  const auto take = [&head](std::string_view separator) {
    const std::string_view part = head.substr(0, head.find(separator));
    head.remove_prefix(std::min(head.size(), part.size() + separator.size()));
    return std::string(part);
  };
  Request request{.method = take(" "), .target = take(" ")};
  take("\r\n");
  while (!head.empty()) {
    std::string name = take(":");
    head.remove_prefix(std::min(head.size(), head.find_first_not_of(' ')));
    request.headers.emplace_back(std::move(name), take("\r\n"));
  }
  return request;
}

// One client. Deletes itself once it is done.
class Connection final : public unirun::TaskObserver {
 public:
  static void begin(unirun::EventLoop& loop, int descriptor, const Handler& handler) {
    auto* const connection = new Connection(loop, descriptor, handler);
    connection->task_.start(*connection);
  }

 private:
  static constexpr std::size_t longest_head = 16 << 10;
  static constexpr std::size_t longest_body = 1 << 20;

  Connection(unirun::EventLoop& loop, int descriptor, const Handler& handler)
      : loop_(loop), descriptor_(descriptor), handler_(handler), task_(serve()) {}
  ~Connection() { ::close(descriptor_); }

  std::coroutine_handle<> on_task_ended() noexcept override {
    loop_.post([this] { delete this; });  // The task is still on the stack.
    return std::noop_coroutine();
  }

  unirun::Task<> serve() {
    for (;;) {
      const auto has_head = [this] { return received_.find("\r\n\r\n") != std::string::npos; };
      if (!co_await read_until(has_head, longest_head)) co_return;
      const std::size_t head = received_.find("\r\n\r\n");
      Request request = parse(std::string_view(received_).substr(0, head));
      received_.erase(0, head + 4);
      const std::size_t length = length_of_body(request);
      if (const std::string_view refused = refusal(request, length); !refused.empty()) {
        const Response answer = response(refused, "");
        co_await write(answer);
        co_return;  // Where the next request begins nobody knows.
      }
      const auto has_body = [this, length] { return received_.size() >= length; };
      if (!co_await read_until(has_body, longest_body)) co_return;
      request.body = received_.substr(0, length);
      received_.erase(0, length);
      const Response answer = co_await handler_(std::move(request));
      if (!co_await write(answer)) co_return;
    }
  }

  static std::size_t length_of_body(const Request& request) {
    for (const auto& [name, value] : request.headers) {
      if (::strcasecmp(name.c_str(), "content-length") == 0)
        return std::strtoull(value.c_str(), nullptr, 10);
    }
    return 0;
  }

  // Nothing, for one that can be answered.
  static std::string_view refusal(const Request& request, std::size_t length) {
    if (!request.target.starts_with('/')) return "400 Bad Request";
    if (length > longest_body) return "413 Content Too Large";
    for (const auto& [name, value] : request.headers) {
      if (::strcasecmp(name.c_str(), "transfer-encoding") == 0) return "501 Not Implemented";
    }
    return {};
  }

  // False: there is no more, or there is too much.
  template <class Enough>
  unirun::Task<bool> read_until(Enough enough, std::size_t at_most) {
    while (!enough()) {
      if (received_.size() > at_most) co_return false;
      co_await unirun::ready(loop_, descriptor_, unirun::Interest::readable);
      char part[4096];
      const ssize_t got = ::read(descriptor_, part, sizeof part);
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) co_return false;
      if (got > 0) received_.append(part, static_cast<std::size_t>(got));
    }
    co_return true;
  }

  unirun::Task<bool> write(const std::string& text) {
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t put = ::send(descriptor_, text.data() + done, text.size() - done, MSG_NOSIGNAL);
      if (put > 0) done += static_cast<std::size_t>(put);
      if (put < 0 && errno != EAGAIN && errno != EINTR) co_return false;
      if (put < 0) co_await unirun::ready(loop_, descriptor_, unirun::Interest::writable);
    }
    co_return true;
  }

  unirun::EventLoop& loop_;
  const int descriptor_;
  const Handler& handler_;
  std::string received_;
  unirun::Task<> task_;
};

// A socket that listens on loopback, or -1; `port` 0 becomes the one that was given.
inline int listen_on(in_port_t& port) {
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int yes = 1;
  ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  if (::bind(descriptor, any, size) != 0 || ::listen(descriptor, 128) != 0 ||
      ::getsockname(descriptor, any, &size) != 0)
    return -1;
  port = ntohs(address.sin_port);
  return descriptor;
}

// Prints the port, and serves until SIGTERM or SIGINT. False: there is no socket to listen on.
inline bool serve(unirun::EventLoop& loop, in_port_t port, const Handler& handler) {
  const int listener = listen_on(port);
  if (listener < 0) return false;
  const unirun::Watch clients =
      loop.watch(listener, unirun::Interest::readable, [&](unirun::Interest) {
        if (const int client = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
            client >= 0)
          Connection::begin(loop, client, handler);
      });
  const unirun::Watch terminated = loop.watch_signal(SIGTERM, [&] { loop.stop(); });
  const unirun::Watch interrupted = loop.watch_signal(SIGINT, [&] { loop.stop(); });
  std::printf("%u\n", port);
  std::fflush(stdout);
  loop.run();
  return true;
}

}  // namespace http
