#include "host/control/http_server.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <optional>

#include "framework/clock.h"
#include "host/control/control_server.h"
#include "host/control/http_message.h"
#include "tests/host/run_loop_until.h"
#include "tests/host/temporary_directory.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

// A server on the test's own loop; what it is asked waits for the test to answer.
struct Server {
  explicit Server(HttpLimits limits) {
    const Result<int> listening = listen_on(path);
    REQUIRE(listening.ok());
    server = std::make_unique<HttpServer>(
        loop, *listening, limits, [](int) { return true; },
        [this](const HttpMessage&, Exchange exchange) { asked = exchange; });
  }

  const TemporaryDirectory directory;
  const std::string path = directory / "http.sock";
  SystemClock clock;
  EventLoop loop{clock};
  std::optional<Exchange> asked;
  std::unique_ptr<HttpServer> server;
};

// What a client has received so far, without waiting.
class Client {
 public:
  explicit Client(const std::string& path) : descriptor_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::connect(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ~Client() { ::close(descriptor_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(std::string_view bytes) {
    REQUIRE(::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  bool has(std::string_view words) {
    look();
    return received_.find(words) != std::string::npos;
  }
  bool closed() {
    look();
    return closed_;
  }

 private:
  void look() {
    std::array<char, 4096> bytes;
    ssize_t n = 0;
    while ((n = ::recv(descriptor_, bytes.data(), bytes.size(), MSG_DONTWAIT)) > 0) {
      received_.append(bytes.data(), static_cast<std::size_t>(n));
    }
    closed_ = closed_ || n == 0;
  }

  int descriptor_;
  std::string received_;
  bool closed_ = false;
};

constexpr std::string_view request = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";

}  // namespace

TEST_CASE("a message may arrive byte by byte") {
  HttpReader reader(HttpReader::Kind::request, {});
  const std::string bytes =
      "POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nEmpty:\r\nContent-Length: 3\r\n\r\nabc";
  for (const char c : bytes) REQUIRE(reader.feed({&c, 1}).ok());
  REQUIRE(reader.complete());
  const HttpMessage message = reader.take();
  CHECK(message.method == "POST");
  CHECK(message.body == "abc");
  CHECK(message.headers.at("empty").empty());
  const auto target = parse_target(message.target);
  REQUIRE(target.ok());
  CHECK(target->segments == std::vector<std::string>{"a b"});
  CHECK(target->query.at("x") == "1");
  CHECK_FALSE(reader.started());
}

TEST_CASE("a request that does not come to its end gets 408, and is gone") {
  Server server({.request_timeout = 20ms});
  Client slow(server.path);
  slow.send("GET /x HTT");
  run_loop_until(server.loop, [&] { return slow.closed(); });
  CHECK(slow.has("408"));
  CHECK(server.server->connections() == 0);
}

TEST_CASE("a connection that asks nothing is closed without a word") {
  Server server({.request_timeout = 20ms, .keep_alive = 20ms});
  Client silent(server.path), once(server.path);
  once.send(request);
  run_loop_until(server.loop, [&] { return server.asked.has_value(); });
  server.asked->respond({.body = "{}"});
  run_loop_until(server.loop, [&] { return silent.closed() && once.closed(); });
  CHECK(once.has("200 OK"));
  CHECK_FALSE(silent.has("HTTP"));
}

TEST_CASE("a silent stream says that it lives, and one that nobody reads is cut off") {
  Server server({.stalled_after = 50ms, .max_unsent = 1 << 20, .comment_interval = 10ms});
  Client reader(server.path);
  bool closed = false;
  reader.send(request);
  run_loop_until(server.loop, [&] { return server.asked.has_value(); });
  server.asked->start_stream(
      "text/event-stream", [] {}, [&] { closed = true; });
  run_loop_until(server.loop, [&] { return reader.has(": still here"); });
  CHECK_FALSE(closed);
  // More than the kernel's buffers take, and nobody reads.
  REQUIRE(server.asked->write(std::string(1000 << 10, 'x')));
  run_loop_until(server.loop, [&] { return closed; });
  CHECK_FALSE(server.asked->write("x"));
}

TEST_CASE("what does not fit a stream is refused, and its end waits for what is on its way") {
  Server server({.max_unsent = 600 << 10});
  Client reader(server.path);
  reader.send(request);
  run_loop_until(server.loop, [&] { return server.asked.has_value(); });
  server.asked->start_stream(
      "text/event-stream", [] {}, [] {});
  bool refused = false;
  for (int i = 0; i < 20 && !refused; ++i) {
    refused = !server.asked->write(std::string(100 << 10, 'x'));
  }
  CHECK(refused);
  bool finished = false;
  server.server->finish(server.clock.now() + 30s, [&] { finished = true; });
  run_loop_until(server.loop, [&] { return reader.closed() && finished; });
}

TEST_CASE("an answer that comes after its client has left goes nowhere") {
  Server server({});
  {
    Client hasty(server.path);
    hasty.send(request);
    run_loop_until(server.loop, [&] { return server.asked.has_value(); });
  }
  server.asked->respond({.body = std::string(1 << 20, 'x')});
  run_loop_until(server.loop, [&] { return server.server->connections() == 0; });
}

}  // namespace unirun
