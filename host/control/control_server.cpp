#include "host/control/control_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "host/control/live_stream.h"
#include "host/control/routes.h"
#include "host/json_text.h"

namespace unirun {
namespace {

using nlohmann::json;

constexpr int backlog = 1024;  // A burst of clients waits here; the kernel caps it.
// Of events and lines that the host has sent to this thread and that it has not handled yet.
constexpr std::size_t most_in_flight = 4096;
constexpr std::size_t page_size = 200;
constexpr const char* metrics_content_type = "text/plain; version=0.0.4; charset=utf-8";

// The peer is who it was at connect(): of the host's own user, or root.
bool may_enter(int descriptor) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

HttpResponse response_of(const Result<json>& answer) {
  if (answer) return {200, "application/json", json_text(*answer) + "\n"};
  const json error{
      {"error", {{"code", to_string(answer.error().code)}, {"message", answer.error().message}}}};
  return {http_status_of(answer.error().code), "application/json", json_text(error) + "\n"};
}

bool is_below(const std::string& path, const std::string& top) {
  return top.empty() || path == top ||
         (path.size() > top.size() && path.compare(0, top.size(), top) == 0 &&
          path[top.size()] == '/');
}

// Who follows events, and which.
struct EventFeed {
  EventFeed(LiveStream stream_, std::string path_, std::vector<std::string> kinds_)
      : stream(std::move(stream_)), path(std::move(path_)), kinds(std::move(kinds_)) {}
  LiveStream stream;
  std::string path;
  std::vector<std::string> kinds;

  [[nodiscard]] bool wants(const Event& event) const {
    return is_below(event.path, path) &&
           (kinds.empty() ||
            std::find(kinds.begin(), kinds.end(), to_string(event.kind())) != kinds.end());
  }
};

// Who follows a service's output. The registrations belong to the host's loop.
struct LogFeed {
  explicit LogFeed(LiveStream stream_) : stream(std::move(stream_)) {}
  LiveStream stream;
  // The host's loop only.
  bool closed = false;
  std::uint64_t dropped = 0;
  std::vector<Registration> registrations;
};

}  // namespace

// Everything here runs on the desk's own thread, unless it says otherwise.
class ControlServer::Desk : public std::enable_shared_from_this<Desk> {
 public:
  Desk(EventLoop& host_loop, EventBus& events, OutputStore& output, HostHandle host,
       HttpLimits limits)
      : host_loop_(host_loop),
        events_(events),
        output_(output),
        host_(std::move(host)),
        limits_(limits),
        loop_(host_loop.clock()) {}

  // ---- Called on the host's loop ----
  void start(int listening) {
    server_ =
        std::make_unique<HttpServer>(loop_, listening, limits_, may_enter,
                                     [this](const HttpMessage& message, const Exchange& exchange) {
                                       answer(message, exchange);
                                     });
    thread_ = std::thread([this] { loop_.run(); });
  }
  void finish(Duration patience, std::function<void()> done) {
    loop_.post([this, patience, done = std::move(done)] {
      server_->finish(loop_.clock().now() + patience, [this, done] { host_loop_.post(done); });
    });
  }
  void stop() {
    watching_.reset();
    watchers_ = 0;
    if (!thread_.joinable()) return;
    loop_.stop();
    thread_.join();
    server_.reset();
  }

 private:
  void answer(const HttpMessage& message, const Exchange& exchange);
  void follow_events(const json& arguments, const Exchange& exchange);
  void follow_logs(const json& arguments, const Exchange& exchange);
  void tell(const std::shared_ptr<const Event>& event, std::uint64_t dropped);

  // `reply` runs here. If the desk has gone by then, nobody waits for it.
  void ask(Request request, std::function<void(Result<json>)> reply) {
    host_.post(std::move(request),
               [weak = weak_from_this(), reply = std::move(reply)](Result<json> result) {
                 const auto desk = weak.lock();
                 if (!desk) return;
                 auto moved = std::make_shared<Result<json>>(std::move(result));
                 desk->loop_.post([reply, moved] { reply(std::move(*moved)); });
               });
  }
  void on_host(std::function<void()> function) {
    host_loop_.post([weak = weak_from_this(), function = std::move(function)] {
      if (weak.lock()) function();
    });
  }

  // ---- Called on the host's loop, for streams ----
  void watch_events();
  void unwatch_events();
  void on_event(const Event& event);
  void follow_output(const std::shared_ptr<LogFeed>& feed, const std::vector<std::string>& paths);
  void on_line(const std::weak_ptr<LogFeed>& feed, const std::string& path, const OutputLine& line);
  bool take_off() {  // Room for one more in flight?
    if (in_flight_.load(std::memory_order_relaxed) >= most_in_flight) return false;
    in_flight_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  void land() { in_flight_.fetch_sub(1, std::memory_order_relaxed); }

  EventLoop& host_loop_;
  EventBus& events_;
  OutputStore& output_;
  const HostHandle host_;
  const HttpLimits limits_;
  EventLoop loop_;
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
  std::unordered_set<std::shared_ptr<EventFeed>> event_feeds_;
  std::atomic<std::size_t> in_flight_{0};

  // The host's loop only.
  Subscription watching_;  // One for all streams; none while nobody follows.
  std::size_t watchers_ = 0;
  std::uint64_t events_dropped_ = 0;
};

void ControlServer::Desk::answer(const HttpMessage& message, const Exchange& exchange) {
  Result<RoutedRequest> routed = route(message);
  if (!routed) return exchange.respond(response_of(routed.error()));
  if (routed->stream && routed->request.name == "events") {
    return follow_events(routed->request.arguments, exchange);
  }
  if (routed->stream && routed->request.name == "logs") {
    return follow_logs(routed->request.arguments, exchange);
  }
  const bool is_text = routed->request.name == "metrics";
  ask(std::move(routed->request), [exchange, is_text](Result<json> result) {
    if (!is_text || !result) return exchange.respond(response_of(result));
    exchange.respond({200, metrics_content_type, (*result)["text"].get<std::string>()});
  });
}

// ---- Events ----

void ControlServer::Desk::follow_events(const json& arguments, const Exchange& exchange) {
  // A first page, even an empty one, tells whether the arguments make sense, before the stream is
  // begun; it also says where live events join.
  json first = arguments;
  const bool has_past = arguments.contains("since") || arguments.contains("limit");
  if (!has_past) first["limit"] = 0;
  if (arguments.contains("since")) first["limit"] = page_size;
  auto feed_slot = std::make_shared<std::weak_ptr<EventFeed>>();
  on_host([this] { watch_events(); });

  const auto items_of = [](json& answer) {
    std::vector<LiveStream::Item> items;
    for (json& event : answer["events"]) {
      items.push_back({"", event.value("sequence", std::uint64_t{0}),
                       event.value("event", std::string()), json_text(event)});
    }
    return items;
  };
  const auto add_page = [feed_slot, items_of](Result<json> answer, bool only_page) {
    const auto feed = feed_slot->lock();
    if (!feed) return;
    if (!answer) return feed->stream.fail(json_text({{"message", answer.error().message}}));
    auto items = items_of(*answer);
    const bool last = only_page || items.size() < page_size;
    feed->stream.add_page(std::move(items), last);
  };
  const bool only_page = !arguments.contains("since");
  LiveStream stream(exchange, [this, first, add_page, only_page](std::uint64_t after) {
    json page = first;
    if (after > 0) page["since"] = after;
    ask({"events", page},
        [add_page, only_page](Result<json> answer) { add_page(std::move(answer), only_page); });
  });

  std::vector<std::string> kinds;
  std::string kinds_text = arguments.value("kinds", "");
  while (!kinds_text.empty()) {
    const std::size_t comma = std::min(kinds_text.find(','), kinds_text.size());
    if (comma > 0) kinds.push_back(kinds_text.substr(0, comma));
    kinds_text.erase(0, comma + 1);
  }
  auto feed =
      std::make_shared<EventFeed>(std::move(stream), arguments.value("path", ""), std::move(kinds));
  *feed_slot = feed;
  event_feeds_.insert(feed);
  exchange.start_stream(
      "text/event-stream", [feed] { feed->stream.caught_up(); },
      [this, feed] {
        event_feeds_.erase(feed);
        on_host([this] { unwatch_events(); });
      });
  feed->stream.start();
}

void ControlServer::Desk::watch_events() {
  if (watchers_++ > 0) return;
  watching_ = events_.subscribe(
      EventKinds::all(), [this](const Event& event) { on_event(event); }, "control streams");
}

void ControlServer::Desk::unwatch_events() {
  if (watchers_ > 0 && --watchers_ == 0) watching_.reset();
}

void ControlServer::Desk::on_event(const Event& event) {
  if (!take_off()) {
    ++events_dropped_;
    return;
  }
  loop_.post([this, copy = std::make_shared<const Event>(event),
              dropped = std::exchange(events_dropped_, 0)] {
    land();
    tell(copy, dropped);
  });
}

// Rendered once, whoever follows.
void ControlServer::Desk::tell(const std::shared_ptr<const Event>& event, std::uint64_t dropped) {
  LiveStream::Item item;
  // A copy: a client that is found gone leaves the set.
  const std::vector<std::shared_ptr<EventFeed>> feeds(event_feeds_.begin(), event_feeds_.end());
  for (const auto& feed : feeds) {
    if (dropped > 0) feed->stream.add_dropped(dropped);
    if (!feed->wants(*event)) continue;
    if (item.text.empty()) {
      item = {"", event->sequence, std::string(to_string(event->kind())),
              json_text(to_json(*event))};
    }
    feed->stream.add(item);
  }
}

// ---- Output ----

void ControlServer::Desk::follow_logs(const json& arguments, const Exchange& exchange) {
  const json path = arguments.value("path", "");
  // Which services are these? An unknown one is told so before a stream begins.
  ask({"service", {{"path", path}}}, [this, arguments, exchange](Result<json> found) {
    if (!found) return exchange.respond(response_of(found));
    std::vector<std::string> paths;
    for (const json& instance : found->value("instances", json::array({*found}))) {
      paths.push_back(instance.value("path", ""));
    }
    auto slot = std::make_shared<std::weak_ptr<LogFeed>>();
    LiveStream stream(exchange, [this, arguments, slot](std::uint64_t) {
      ask({"logs", arguments}, [slot](Result<json> answer) {
        const auto feed = slot->lock();
        if (!feed) return;
        if (!answer) return feed->stream.fail(json_text({{"message", answer.error().message}}));
        std::vector<LiveStream::Item> items;
        for (json& line : (*answer)["lines"]) {
          items.push_back({line.value("path", ""), line.value("number", std::uint64_t{0}), "log",
                           json_text(line)});
        }
        feed->stream.add_page(std::move(items), true);
      });
    });
    auto feed = std::make_shared<LogFeed>(std::move(stream));
    *slot = feed;
    exchange.start_stream(
        "text/event-stream", [feed] { feed->stream.caught_up(); },
        [this, feed] {
          on_host([feed] {
            feed->closed = true;
            feed->registrations.clear();
          });
        });
    // Followed first, looked back second: nothing falls between.
    on_host([this, feed, paths] { follow_output(feed, paths); });
    feed->stream.start();
  });
}

void ControlServer::Desk::follow_output(const std::shared_ptr<LogFeed>& feed,
                                        const std::vector<std::string>& paths) {
  if (feed->closed) return;
  for (const std::string& path : paths) {
    feed->registrations.push_back(output_.follow(
        path, [this, weak = std::weak_ptr(feed)](const std::string& from, const OutputLine& line) {
          on_line(weak, from, line);
        }));
  }
}

void ControlServer::Desk::on_line(const std::weak_ptr<LogFeed>& feed, const std::string& path,
                                  const OutputLine& line) {
  if (!take_off()) {
    if (const auto open = feed.lock()) ++open->dropped;
    return;
  }
  const auto host_side = feed.lock();
  const std::uint64_t dropped = host_side ? std::exchange(host_side->dropped, 0) : 0;
  loop_.post([this, feed, path, dropped, line] {
    land();
    const auto open = feed.lock();
    if (!open) return;
    if (dropped > 0) open->stream.add_dropped(dropped);
    json text = to_json(line);
    text["path"] = path;
    open->stream.add({path, line.number, "log", json_text(text)});
  });
}

// ---- The door ----

ControlServer::ControlServer(EventLoop& loop, EventBus& events, OutputStore& output,
                             HostHandle host, HttpLimits limits)
    : desk_(std::make_shared<Desk>(loop, events, output, std::move(host), limits)) {}

ControlServer::~ControlServer() { desk_->stop(); }

void ControlServer::start(int listening) { desk_->start(listening); }

void ControlServer::finish(Duration patience, std::function<void()> done) {
  desk_->finish(patience, std::move(done));
}

Result<int> listen_on(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) {
    return Error{Errc::io, "the socket path " + socket_path + " has " +
                               std::to_string(socket_path.size()) + " bytes; a socket may have " +
                               std::to_string(sizeof address.sun_path - 1) +
                               ": name a shorter one as host.control_socket"};
  }
  socket_path.copy(address.sun_path, socket_path.size());
  struct stat present {};
  if (::lstat(socket_path.c_str(), &present) == 0) {
    if (!S_ISSOCK(present.st_mode)) {
      return Error{Errc::io, socket_path +
                                 " is there and is no socket; move it away, or name "
                                 "another as host.control_socket"};
    }
    ::unlink(socket_path.c_str());  // If this fails, bind() says why.
  }
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return Error::from_errno(errno, "socket");
  // Before bind(): there is no moment at which others could connect.
  if (::fchmod(descriptor, 0600) == 0 &&
      ::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::listen(descriptor, backlog) == 0) {
    return descriptor;
  }
  Error error = Error::from_errno(errno, "control socket " + socket_path);
  error.code = Errc::io;
  ::close(descriptor);
  return error;
}

}  // namespace unirun
