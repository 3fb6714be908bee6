#include "executors/python/asgi/asgi_event.h"

#include <array>

namespace unirun::python {

std::string_view to_string(AsgiEvent::Type type) {
  static constexpr std::array<std::string_view, 18> names{
      "http.request",
      "http.disconnect",
      "websocket.connect",
      "websocket.receive",
      "websocket.disconnect",
      "lifespan.startup",
      "lifespan.shutdown",
      "http.response.start",
      "http.response.body",
      "websocket.accept",
      "websocket.send",
      "websocket.close",
      "websocket.http.response.start",
      "websocket.http.response.body",
      "lifespan.startup.complete",
      "lifespan.startup.failed",
      "lifespan.shutdown.complete",
      "lifespan.shutdown.failed",
  };
  return names.at(static_cast<std::size_t>(type));
}

}  // namespace unirun::python
