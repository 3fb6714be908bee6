// An HTTP server with one thread of its own, an event loop, whose handlers are Python functions:
//
//   GET /ping            is answered here, in C++
//   GET /primes?30000    by handlers.primes("30000"), on a worker
//   GET /later?0.5       by handlers.later("0.5"), a coroutine, on an asyncio loop
//
// The loop waits for nobody: a request is a coroutine of C++ that goes on when its handler has
// answered. measure.py shows what that is worth.
//
// usage: server FOLDER_OF_HANDLERS [PORT]   (prints the port; ends with SIGTERM or SIGINT)
#include <Python.h>
// Python.h first.

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "unirun/executors/python/python_executor.h"
#include "unirun/framework/awaitables/descriptor_wait.h"
#include "unirun/framework/clock.h"
#include "unirun/framework/event_loop.h"
#include "unirun/framework/task.h"

using namespace unirun;
using python::PythonExecutor;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t longest_request = 16 << 10;

std::string response(std::string_view status, std::string_view body) {
  std::string text = "HTTP/1.1 ";
  text.append(status).append("\r\ncontent-length: ").append(std::to_string(body.size()));
  return text.append("\r\n\r\n").append(body);
}

// What a handler that failed is called to the client; the traceback is for the log.
std::string response_to(const python::Error& error) {
  std::fprintf(stderr, "%s: %s\n%s", error.type.c_str(), error.message.c_str(),
               error.traceback.c_str());
  switch (error.code) {
    case python::Errc::unknown_function: return response("404 Not Found", "no such handler\n");
    case python::Errc::queue_full: return response("503 Service Unavailable", "too busy\n");
    case python::Errc::timeout: return response("504 Gateway Timeout", "it took too long\n");
    default: return response("500 Internal Server Error", error.type + "\n");
  }
}

// "/name?query": handlers.name("query"). No coroutine, for gcc 12 takes no braces beside co_await.
python::future<python::Value> call_handler(std::string_view target) {
  const std::size_t mark = std::min(target.find('?'), target.size());
  const std::string_view query = target.substr(std::min(mark + 1, target.size()));
  return PythonExecutor::async_call("handlers", target.substr(1, mark - 1), {query}, {},
                                    {.timeout = 10s});
}

Task<std::string> answer(std::string target) {
  if (target == "/ping") co_return response("200 OK", "pong\n");
  const python::Result<python::Value> said = co_await call_handler(target);
  if (!said.ok()) co_return response_to(said.error());
  const auto* const text = said->get_if<std::string>();
  co_return text != nullptr
      ? response("200 OK", *text)
      : response("500 Internal Server Error", "a handler answers with a string\n");
}

// One client: its requests, one after the other. Deletes itself once it is done.
class Connection final : public TaskObserver {
 public:
  static void begin(EventLoop& loop, int descriptor) {
    auto* const connection = new Connection(loop, descriptor);
    connection->task_.start(*connection);
  }

 private:
  Connection(EventLoop& loop, int descriptor)
      : loop_(loop), descriptor_(descriptor), task_(serve()) {}
  ~Connection() { ::close(descriptor_); }

  std::coroutine_handle<> on_task_ended() noexcept override {
    loop_.post([this] { delete this; });  // The task is still on the stack.
    return std::noop_coroutine();
  }

  Task<> serve() {
    while (co_await read_request()) {
      const std::size_t begin = requests_.find(' ') + 1;
      const std::size_t length = requests_.find(' ', begin) - begin;
      const std::string target = requests_.substr(begin, length);
      requests_.erase(0, requests_.find("\r\n\r\n") + 4);
      if (!co_await write(co_await answer(target))) co_return;
    }
  }

  // False: there is no more.
  Task<bool> read_request() {
    while (requests_.find("\r\n\r\n") == std::string::npos) {
      if (requests_.size() > longest_request) co_return false;
      co_await ready(loop_, descriptor_, Interest::readable);
      char part[4096];
      const ssize_t got = ::read(descriptor_, part, sizeof part);
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) co_return false;
      if (got > 0) requests_.append(part, static_cast<std::size_t>(got));
    }
    co_return requests_.starts_with("GET /");
  }

  Task<bool> write(std::string text) {
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t put = ::send(descriptor_, text.data() + done, text.size() - done, MSG_NOSIGNAL);
      if (put > 0) done += static_cast<std::size_t>(put);
      if (put < 0 && errno != EAGAIN && errno != EINTR) co_return false;
      if (put < 0) co_await ready(loop_, descriptor_, Interest::writable);
    }
    co_return true;
  }

  EventLoop& loop_;
  const int descriptor_;
  std::string requests_;
  Task<> task_;
};

// A socket that listens on loopback, or -1; `port` 0 becomes the one that was given.
int listen_on(in_port_t& port) {
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

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: server FOLDER_OF_HANDLERS [PORT]\n");
    return 2;
  }
  if (const auto started = PythonExecutor::start(
          {.num_workers = 2, .sys_path = {arguments[1]}, .preload = {"handlers"}});
      !started.ok()) {
    std::fprintf(stderr, "server: %s\n%s", started.error().message.c_str(),
                 started.error().traceback.c_str());
    return 1;
  }
  const SystemClock clock;
  EventLoop loop(clock);
  auto port = static_cast<in_port_t>(count > 2 ? std::atoi(arguments[2]) : 0);
  const int listener = listen_on(port);
  if (listener < 0) {
    std::perror("server: no socket to listen on");
    return 1;
  }
  const Watch clients = loop.watch(listener, Interest::readable, [&](Interest) {
    if (const int client = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        client >= 0)
      Connection::begin(loop, client);
  });
  const Watch terminated = loop.watch_signal(SIGTERM, [&] { loop.stop(); });
  const Watch interrupted = loop.watch_signal(SIGINT, [&] { loop.stop(); });
  std::printf("%u\n", port);
  std::fflush(stdout);
  loop.run();
  return PythonExecutor::shutdown() == 0 && PythonExecutor::finalize().ok() ? 0 : 1;
}
