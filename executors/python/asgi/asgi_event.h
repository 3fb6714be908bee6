// AsgiEvent is what a server and an ASGI application say to each other on a connection.
//
// Thread: any. A value: each type has the fields that its comment names, the others mean nothing.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "executors/python/asgi/asgi_scope.h"
#include "executors/python/values/value.h"

namespace unirun::python {

struct AsgiEvent {
  enum class Type : std::uint8_t {
    // ---- To the application ----
    http_request,          // body, more_body
    http_disconnect,       //
    websocket_connect,     //
    websocket_receive,     // text or bytes
    websocket_disconnect,  // code, reason
    lifespan_startup,      //
    lifespan_shutdown,     //
    // ---- From it ----
    http_response_start,            // status, headers
    http_response_body,             // body, more_body
    websocket_accept,               // subprotocol, headers
    websocket_send,                 // text or bytes
    websocket_close,                // code, reason; before an accept: refuse with 403
    websocket_http_response_start,  // status, headers: refuse with this
    websocket_http_response_body,   // body, more_body
    lifespan_startup_complete,      //
    lifespan_startup_failed,        // reason
    lifespan_shutdown_complete,     //
    lifespan_shutdown_failed,       // reason
  };

  Type type = Type::http_request;
  Bytes body{};
  bool more_body = false;
  int status = 200;
  AsgiHeaders headers{};
  std::optional<std::string> text{};  // UTF-8. One of both.
  std::optional<Bytes> bytes{};
  int code = 1000;
  std::string reason{};
  std::optional<std::string> subprotocol{};
};

// "http.response.start"
[[nodiscard]] std::string_view to_string(AsgiEvent::Type type);

}  // namespace unirun::python
