#include "executors/python/asgi/asgi_protocol.h"

#include <fmt/format.h>

namespace unirun::python {
namespace {

constexpr int internal_error = 1011;  // The codes of websockets: RFC 6455, 7.4.
constexpr int normal_closure = 1000;

std::vector<AsgiEvent> response_500(AsgiEvent::Type start, AsgiEvent::Type body) {
  const std::string text = "Internal Server Error";
  return {{.type = start,
           .status = 500,
           .headers = {{{"content-type"}, {"text/plain; charset=utf-8"}},
                       {{"content-length"}, {std::to_string(text.size())}}}},
          {.type = body, .body = {text}}};
}

}  // namespace

std::optional<AsgiProtocol::Stage> AsgiProtocol::after(const AsgiEvent& event) const {
  using Type = AsgiEvent::Type;
  const Stage now = stage_;
  const Stage after_body = event.more_body ? now : Stage::complete;
  const bool waits = now == Stage::waiting;
  const bool is_open = now == Stage::open;
  switch (event.type) {
    case Type::http_response_start:
      if (kind_ == Kind::http && waits) return Stage::open;
      break;
    case Type::http_response_body:
      if (kind_ == Kind::http && is_open) return after_body;
      break;
    case Type::websocket_accept:
      if (kind_ == Kind::websocket && waits) return Stage::open;
      break;
    case Type::websocket_send:
      if (is_accepted()) return Stage::open;
      break;
    case Type::websocket_close:
      if (kind_ == Kind::websocket && (waits || is_open)) return Stage::complete;
      break;
    case Type::websocket_http_response_start:
      if (kind_ == Kind::websocket && waits) return Stage::denying;
      break;
    case Type::websocket_http_response_body:
      if (now == Stage::denying) return after_body;
      break;
    case Type::lifespan_startup_complete:
      if (kind_ == Kind::lifespan && waits) return Stage::open;
      break;
    case Type::lifespan_startup_failed:
      if (kind_ == Kind::lifespan && waits) return Stage::complete;
      break;
    case Type::lifespan_shutdown_complete:
    case Type::lifespan_shutdown_failed:
      if (kind_ == Kind::lifespan && is_open) return Stage::complete;
      break;
    default: break;
  }
  return std::nullopt;
}

std::string AsgiProtocol::expected() const {
  if (is_complete()) return "everything has been sent, and the connection is closed";
  switch (kind_) {
    case Kind::http:
      return has_begun() ? "the response has begun: send 'http.response.body'"
                         : "send 'http.response.start' first";
    case Kind::websocket:
      if (stage_ == Stage::denying) return "send 'websocket.http.response.body'";
      return has_begun() ? "the websocket is open: send 'websocket.send' or 'websocket.close'"
                         : "send 'websocket.accept', 'websocket.close' or "
                           "'websocket.http.response.start' first";
    case Kind::lifespan: break;
  }
  return has_begun() ? "send 'lifespan.shutdown.complete' or 'lifespan.shutdown.failed'"
                     : "send 'lifespan.startup.complete' or 'lifespan.startup.failed' first";
}

std::optional<std::string> AsgiProtocol::take(const AsgiEvent& event) {
  const auto next = after(event);
  if (!next) return fmt::format("'{}' cannot be sent now: {}", to_string(event.type), expected());
  stage_ = *next;
  return std::nullopt;
}

std::vector<AsgiEvent> AsgiProtocol::last_words(bool has_failed) const {
  using Type = AsgiEvent::Type;
  if (kind_ == Kind::http && !has_begun())
    return response_500(Type::http_response_start, Type::http_response_body);
  if (kind_ == Kind::websocket && !has_begun())
    return response_500(Type::websocket_http_response_start, Type::websocket_http_response_body);
  if (is_accepted())
    return {{.type = Type::websocket_close, .code = has_failed ? internal_error : normal_closure}};
  return {};
}

}  // namespace unirun::python
