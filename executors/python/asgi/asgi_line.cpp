#include "executors/python/asgi/asgi_line.h"

#include <fmt/format.h>

#include <utility>

#include "executors/python/asgi/asgi_dicts.h"
#include "executors/python/runtime.h"

namespace unirun::python {
namespace {

using Type = AsgiEvent::Type;

constexpr int service_restart = 1012;  // Of a websocket: RFC 6455, 7.4, and its registry.

AsgiProtocol::Kind kind_of(const Scope& scope) {
  return scope.type == Scope::Type::http ? AsgiProtocol::Kind::http : AsgiProtocol::Kind::websocket;
}

Error closed() {
  return {.code = Errc::stream_closed, .message = "the ASGI application takes nothing any more"};
}

}  // namespace

AsgiLine::AsgiLine(std::shared_ptr<AsgiApplication> application, Scope scope,
                   const AsgiOptions& options)
    : AsgiExchange(kind_of(scope), std::move(application)),
      scope_(std::move(scope)),
      grace_(options.grace),
      to_application_(std::make_shared<Events>(
          StreamOptions{.window = options.window, .batch = options.window})),
      to_client_(std::make_shared<Events>(
          StreamOptions{.window = options.window, .batch = options.window})) {}

std::shared_ptr<AsgiLine> AsgiLine::open(std::shared_ptr<AsgiApplication> application, Scope scope,
                                         const AsgiOptions& options) {
  LoopHome& home = application->home();
  auto line = std::make_shared<AsgiLine>(std::move(application), std::move(scope), options);
  if (line->protocol().kind() == AsgiProtocol::Kind::websocket)
    static_cast<void>(line->to_application_->put(AsgiEvent{.type = Type::websocket_connect}));
  auto* const task = new AsgiTask<void>(line, home);
  line->task_.set(Shared<Outcome<void>>(task));
  task->add_owner();
  Runtime::get().submit(Shared<TaskState>(task), {});
  return line;
}

// ---- What the client does ----

Result<bool> AsgiLine::say(AsgiEvent event) {
  const bool is_http = protocol().kind() == AsgiProtocol::Kind::http;
  if (event.type == (is_http ? Type::http_disconnect : Type::websocket_disconnect)) {
    disconnect(event.code, std::move(event.reason));
    return false;
  }
  if (event.type != (is_http ? Type::http_request : Type::websocket_receive)) {
    return Error{
        .code = Errc::unsupported,
        .message = fmt::format("'{}' is no event that the client of {} sends",
                               to_string(event.type), is_http ? "a request" : "a websocket")};
  }
  if (is_http && has_said_all_.exchange(!event.more_body)) {
    has_said_all_ = true;
    return Error{.code = Errc::unsupported,
                 .message = "'http.request': the one before had no more_body, and was the last"};
  }
  if (event.text && utf8_length(*event.text) != event.text->size()) {
    return Error{.code = Errc::conversion,
                 .message = fmt::format("'websocket.receive': the text is no UTF-8 at byte {}",
                                        utf8_length(*event.text))};
  }
  switch (to_application_->put(std::move(event))) {
    case StreamRoom::none: return closed();
    case StreamRoom::pause: return true;
    case StreamRoom::more: break;
  }
  return false;
}

void AsgiLine::disconnect(int code, std::string reason) {
  if (is_gone_.exchange(true)) return;
  if (!protocol().is_complete()) {
    const std::lock_guard lock(mutex_);
    code_ = code;
    reason_ = std::move(reason);
  }
  to_application_->end(std::nullopt);
  to_client_->cancel({.code = Errc::stream_closed, .message = "the client has left"});
  if (!task_.get()) return;
  const auto cancel = [weak = weak_from_this()] {
    if (const auto line = std::static_pointer_cast<AsgiLine>(weak.lock()))
      line->cancel_application();
  };
  const TimerId timer = Runtime::get().call_later(grace_, cancel);
  const std::lock_guard lock(mutex_);
  grace_timer_ = timer;
}

// One that has answered may go on in the background.
void AsgiLine::cancel_application() {
  if (protocol().is_complete()) return;
  if (const auto task = task_.get()) static_cast<void>(cancel_task(*task));
}

// ---- What the application does ----

Reference AsgiLine::scope(const AsgiWords& words) {
  const Ref state = application()->state();
  return scope_dict(words, scope_, state.get());
}

AsgiEvent AsgiLine::farewell() {
  if (protocol().kind() == AsgiProtocol::Kind::http) return {.type = Type::http_disconnect};
  const std::lock_guard lock(mutex_);
  return {.type = Type::websocket_disconnect, .code = code_, .reason = reason_};
}

std::optional<AsgiEvent> AsgiLine::next() {
  // Asked for first: nothing comes after it.
  const bool is_last = to_application_->is_cancelled();
  if (taken_.empty()) taken_ = to_application_->take();
  if (taken_.empty() || !taken_.front().ok())
    return is_last ? std::optional(farewell()) : std::nullopt;
  AsgiEvent event = *std::move(taken_.front());
  taken_.pop_front();
  to_application_->read_one();
  return event;
}

bool AsgiLine::wait_for_next(std::function<void()> go_on) {
  return !to_application_->wait_for_items(std::move(go_on));
}

bool AsgiLine::put(AsgiEvent event) {
  if (event.type == Type::websocket_close) {
    const std::lock_guard lock(mutex_);
    code_ = event.code;
    reason_ = event.reason;
  }
  const StreamRoom room = to_client_->put(std::move(event));
  if (!protocol().is_complete()) return room == StreamRoom::pause;
  to_application_->cancel(closed());
  to_client_->end(std::nullopt);
  return false;
}

bool AsgiLine::wait_for_room(std::function<void()> go_on) {
  return to_client_->wait_for_room(std::move(go_on));
}

// ---- The end ----

void AsgiLine::close(std::optional<Error> error) {
  if (error && error->code != Errc::python_exception) {
    if (protocol().is_accepted())
      static_cast<void>(
          to_client_->put(AsgiEvent{.type = Type::websocket_close, .code = service_restart}));
  } else {
    for (AsgiEvent& event : protocol().last_words(error && !error->type.empty()))
      static_cast<void>(to_client_->put(std::move(event)));
  }
  to_application_->cancel(closed());
  to_client_->end(std::move(error));
  TimerId timer = TimerId::none;
  {
    const std::lock_guard lock(mutex_);
    timer = std::exchange(grace_timer_, TimerId::none);
  }
  if (timer != TimerId::none) Runtime::get().cancel_call(timer);
}

void AsgiLine::finish(End end) noexcept {
  const Ending ending = end.ending();
  close(end.error);
  task_.settle(ending, end.error ? Result<void>(*std::move(end.error)) : Result<void>());
}

void AsgiLine::fail(const Error& error) noexcept {
  static_cast<void>(task_.take());
  close(error);
}

}  // namespace unirun::python
