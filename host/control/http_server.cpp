#include "host/control/http_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "framework/require.h"

namespace unirun {

namespace {

// After this many bytes of one connection the others get their turn.
constexpr std::size_t read_at_once = 16 << 10;
// With no descriptor left, accepting would fail again at once: the loop must not spin on that.
constexpr Duration pause_without_descriptors = std::chrono::seconds{1};

std::string head_of(const HttpResponse& response, bool keep_alive) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + ' ';
  head += http_reason(response.status);
  head += "\r\nContent-Type: " + response.content_type;
  head += "\r\nContent-Length: " + std::to_string(response.body.size());
  head += keep_alive ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n";
  return head;
}

HttpResponse refusal(int status, std::string_view why) {
  return {
      status, "application/json",
      nlohmann::json{{"error", {{"code", "invalid_argument"}, {"message", why}}}}.dump() + "\n"};
}

}  // namespace

struct HttpServer::Impl {
  EventLoop& loop;
  int listening;
  HttpLimits limits;
  Doorman doorman;
  Handler handler;
  Watch accepting;
  TimerId pause = TimerId::none;
  std::unordered_map<HttpConnection*, std::shared_ptr<HttpConnection>> connections;
  std::function<void()> finished;  // Set while the server finishes.
  TimerId deadline = TimerId::none;

  void accept_all();
  void resume();
  void remove(HttpConnection* connection);
};

// One client. Reads a request, waits for its answer, sends it, and again; or turns into a stream.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpServer::Impl& server, int descriptor)
      : server_(server),
        descriptor_(descriptor),
        reader_(HttpReader::Kind::request, server.limits.request) {}
  ~HttpConnection() {
    // Members that call back must be gone before the descriptor is.
    watch_.reset();
    ::close(descriptor_);
  }

  void start() {
    expect_within(server_.limits.request_timeout);
    look_for(Interest::readable);
  }

  void respond(const HttpResponse& response) {
    if (state_ != State::answering) return;
    const bool keep_alive = keep_alive_ && !server_.finished;
    unsent_ += head_of(response, keep_alive);
    unsent_ += response.body;
    state_ = keep_alive ? State::sending : State::closing;
    send();
  }

  void start_stream(std::string_view content_type, std::function<void()> on_drained,
                    std::function<void()> on_closed) {
    if (state_ != State::answering) {
      if (on_closed) on_closed();
      return;
    }
    state_ = State::streaming;
    on_drained_ = std::move(on_drained);
    on_closed_ = std::move(on_closed);
    // No length and no chunks: the stream ends with the connection.
    unsent_ += "HTTP/1.1 200 OK\r\nContent-Type: " + std::string(content_type) +
               "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
    look_for(Interest::readable);  // So that its end is seen.
    send();
  }

  [[nodiscard]] bool write(std::string_view piece) {
    if (state_ != State::streaming) return false;
    if (unsent_.size() + piece.size() > server_.limits.max_unsent) return false;
    unsent_ += piece;
    send();
    return true;
  }

  [[nodiscard]] bool drained() const { return unsent_.empty(); }

  // The stream has said all.
  void close_stream() {
    if (state_ != State::streaming) return;
    state_ = State::closing;
    send();
  }

  void finish() {
    if (state_ == State::streaming) close_stream();
    if (state_ == State::reading) end();
  }

  // Forgets the connection; the object dies when the last reference goes.
  void end() {
    if (state_ == State::ended) return;
    state_ = State::ended;
    server_.loop.cancel_timer(std::exchange(timer_, TimerId::none));
    watch_.reset();
    if (auto on_closed = std::exchange(on_closed_, nullptr)) on_closed();
    server_.remove(this);
  }

 private:
  enum class State { reading, answering, sending, streaming, closing, ended };

  void look_for(Interest interest) {
    if (watch_ && interest == watched_for_) return;
    watch_.reset();
    watched_for_ = interest;
    watch_ = server_.loop.watch(descriptor_, interest, [this](Interest seen) { on_ready(seen); });
  }

  void expect_within(Duration duration) {
    server_.loop.cancel_timer(timer_);
    timer_ =
        server_.loop.start_timer(server_.loop.clock().now() + duration, [this] { on_deadline(); });
  }

  void on_deadline() {
    timer_ = TimerId::none;
    const auto self = shared_from_this();
    if (state_ == State::streaming && unsent_.empty()) {
      unsent_ += ": still here\n\n";
      send();
    } else if (state_ == State::reading && reader_.started()) {
      state_ = State::answering;
      keep_alive_ = false;
      respond(refusal(408, "the request took too long to arrive"));
    } else {
      end();
    }
  }

  void on_ready(Interest seen) {
    const auto self = shared_from_this();
    if (seen != Interest::readable) send();
    if (state_ != State::ended && seen != Interest::writable) read();
  }

  void read() {
    std::array<char, read_at_once> bytes;
    const ssize_t n = ::recv(descriptor_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return end();
    if (state_ != State::reading) return;  // A stream's client has nothing to say.
    if (received_.empty() && !reader_.started()) expect_within(server_.limits.request_timeout);
    received_.append(bytes.data(), static_cast<std::size_t>(n));
    consume();
  }

  // Reads requests from what has arrived, as long as each is answered at once.
  void consume() {
    while (state_ == State::reading && !received_.empty()) {
      const Result<std::size_t> taken = reader_.feed(received_);
      if (!taken) {
        state_ = State::answering;
        keep_alive_ = false;
        return respond(refusal(400, taken.error().message));
      }
      received_.erase(0, *taken);
      if (reader_.complete()) answer(reader_.take());
    }
  }

  void answer(const HttpMessage& request) {
    state_ = State::answering;
    keep_alive_ = request.keep_alive;
    server_.loop.cancel_timer(std::exchange(timer_, TimerId::none));
    server_.handler(request, Exchange(weak_from_this()));
    // Who waits for an answer is not read from; whether they have left shows when it is sent.
    if (state_ == State::answering) watch_.reset();
  }

  void send() {
    const std::size_t before = unsent_.size();
    std::size_t sent = 0;
    while (sent < before) {
      const ssize_t n =
          ::send(descriptor_, unsent_.data() + sent, before - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) return end();
      if (n < 0) {
        held_back_ = true;
        break;
      }
      sent += static_cast<std::size_t>(n);
    }
    unsent_.erase(0, sent);
    if (unsent_.empty()) return on_sent();
    look_for(state_ == State::streaming ? Interest::both : Interest::writable);
    if (sent > 0 || timer_ == TimerId::none) expect_within(server_.limits.stalled_after);
  }

  void on_sent() {
    unsent_.shrink_to_fit();
    switch (state_) {
      case State::closing: return end();
      case State::streaming:
        look_for(Interest::readable);
        expect_within(server_.limits.comment_interval);
        if (std::exchange(held_back_, false) && on_drained_) on_drained_();
        return;
      case State::sending:
        if (server_.finished) return end();
        break;
      default: return;
    }
    state_ = State::reading;
    expect_within(server_.limits.keep_alive);
    look_for(Interest::readable);
    // A pipelined request may be here already; not from within the one before it.
    if (!received_.empty()) {
      server_.loop.post([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->consume();
      });
    }
  }

  HttpServer::Impl& server_;
  int descriptor_;
  HttpReader reader_;
  State state_ = State::reading;
  bool keep_alive_ = true;
  bool held_back_ = false;  // The client did not take all of it at once.
  std::string received_, unsent_;
  std::function<void()> on_drained_, on_closed_;
  TimerId timer_ = TimerId::none;
  Interest watched_for_ = Interest::readable;
  Watch watch_;
};

void HttpServer::Impl::accept_all() {
  while (true) {
    const int descriptor = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (descriptor < 0 && errno == EAGAIN) return;
    if (descriptor < 0) {
      accepting.reset();
      pause =
          loop.start_timer(loop.clock().now() + pause_without_descriptors, [this] { resume(); });
      return;
    }
    if (!doorman(descriptor)) {
      ::close(descriptor);
      continue;
    }
    if (connections.size() >= limits.max_connections) {
      const HttpResponse busy = refusal(503, "too many connections");
      const std::string bytes = head_of(busy, false) + busy.body;
      // Into an empty buffer it fits; if not, closing says it too.
      (void)::send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      ::close(descriptor);
      continue;
    }
    auto connection = std::make_shared<HttpConnection>(*this, descriptor);
    connections.emplace(connection.get(), connection);
    connection->start();
  }
}

void HttpServer::Impl::resume() {
  pause = TimerId::none;
  accepting = loop.watch(listening, Interest::readable, [this](Interest) { accept_all(); });
}

void HttpServer::Impl::remove(HttpConnection* connection) {
  connections.erase(connection);
  if (connections.empty() && finished) {
    loop.cancel_timer(std::exchange(deadline, TimerId::none));
    loop.post(std::exchange(finished, nullptr));
  }
}

HttpServer::HttpServer(EventLoop& loop, int listening, HttpLimits limits, Doorman doorman,
                       Handler handler)
    : impl_(new Impl{loop,
                     listening,
                     limits,
                     std::move(doorman),
                     std::move(handler),
                     {},
                     TimerId::none,
                     {},
                     {},
                     TimerId::none}) {
  impl_->resume();
}

HttpServer::~HttpServer() {
  impl_->finished = nullptr;
  impl_->accepting.reset();
  impl_->loop.cancel_timer(impl_->pause);
  impl_->loop.cancel_timer(impl_->deadline);
  while (!impl_->connections.empty()) {
    const auto connection = impl_->connections.begin()->second;
    connection->end();
  }
  if (impl_->listening >= 0) ::close(impl_->listening);
}

void HttpServer::finish(Instant deadline, std::function<void()> done) {
  UNIRUN_REQUIRE(!impl_->finished);
  impl_->accepting.reset();
  impl_->loop.cancel_timer(std::exchange(impl_->pause, TimerId::none));
  ::close(std::exchange(impl_->listening, -1));
  impl_->finished = std::move(done);
  impl_->deadline = impl_->loop.start_timer(deadline, [this] {
    impl_->deadline = TimerId::none;
    const auto remaining = impl_->connections;
    for (const auto& [_, connection] : remaining) connection->end();
  });
  const auto open = impl_->connections;
  for (const auto& [_, connection] : open) connection->finish();
  if (open.empty()) {
    impl_->loop.cancel_timer(std::exchange(impl_->deadline, TimerId::none));
    impl_->loop.post(std::exchange(impl_->finished, nullptr));
  }
}

std::size_t HttpServer::connections() const { return impl_->connections.size(); }

void Exchange::respond(HttpResponse response) const {
  if (const auto connection = connection_.lock()) connection->respond(response);
}
void Exchange::start_stream(std::string_view content_type, std::function<void()> on_drained,
                            std::function<void()> on_closed) const {
  if (const auto connection = connection_.lock()) {
    connection->start_stream(content_type, std::move(on_drained), std::move(on_closed));
  } else if (on_closed) {
    on_closed();
  }
}
bool Exchange::write(std::string_view piece) const {
  const auto connection = connection_.lock();
  return connection && connection->write(piece);
}
bool Exchange::drained() const {
  const auto connection = connection_.lock();
  return !connection || connection->drained();
}
void Exchange::close() const {
  if (const auto connection = connection_.lock()) connection->close_stream();
}

}  // namespace unirun
