// HttpServer answers HTTP/1.1 on a listening socket: many connections, one thread, nothing to do
// while nobody calls. It stands between strangers and the host, so everything is bounded: how many
// connections, how large a request, how long one may take to arrive, how much may wait to be sent.
//
// Thread: the loop's, Exchange included.

#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "framework/event_loop.h"
#include "host/control/http_message.h"

namespace unirun {

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
};

struct HttpLimits {
  std::size_t max_connections = 600;  // One more is told 503 and closed.
  HttpReader::Limits request{};
  Duration request_timeout = std::chrono::seconds{10};  // From accept, or a first byte, to the end.
  Duration keep_alive = std::chrono::seconds{15};       // Between two requests.
  Duration stalled_after = std::chrono::seconds{30};    // Nothing could be sent for so long.
  std::size_t max_unsent = 256 << 10;  // Of a stream; what does not fit is refused.
  Duration comment_interval = std::chrono::seconds{15};  // Shows a silent stream to be alive.
};

// One request that waits for its answer. May be kept; if the caller has left by then, the answer
// goes nowhere.
class Exchange {
 public:
  // One of the two, once.
  void respond(HttpResponse response) const;
  // The answer goes on until close(). `on_drained` is called when a client that did not take all at
  // once has caught up, `on_closed` once, however it ends.
  void start_stream(std::string_view content_type, std::function<void()> on_drained,
                    std::function<void()> on_closed) const;

  // False if the stream is gone, or so slow that this piece did not fit and is lost.
  [[nodiscard]] bool write(std::string_view piece) const;
  [[nodiscard]] bool drained() const;
  void close() const;  // Once all that was written is sent.

 private:
  friend class HttpConnection;
  explicit Exchange(std::weak_ptr<class HttpConnection> connection)
      : connection_(std::move(connection)) {}

  std::weak_ptr<class HttpConnection> connection_;
};

class HttpServer {
 public:
  using Handler = std::function<void(const HttpMessage&, Exchange)>;
  // Says whether this fresh connection may stay. It owns nothing.
  using Doorman = std::function<bool(int descriptor)>;

  // Takes over `listening`, which must be non-blocking. `loop` outlives the server.
  HttpServer(EventLoop& loop, int listening, HttpLimits limits, Doorman doorman, Handler handler);
  ~HttpServer();  // Closes everything at once.
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Accepts nobody any more, lets answers that are being sent get out until `deadline`, then calls
  // `done` from the loop. Streams end.
  void finish(Instant deadline, std::function<void()> done);

  [[nodiscard]] std::size_t connections() const;

 private:
  friend class HttpConnection;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
