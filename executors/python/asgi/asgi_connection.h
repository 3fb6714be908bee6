// AsgiConnection is a request or a websocket as its server has it: what the client says is sent to
// the application, and what that answers is received. Both ways so many events may be under way,
// and then whoever makes them waits.
//
//   AsgiConnection socket = app.open(scope);           // of a websocket
//   while (auto event = co_await socket.receive()) { ... co_await socket.send(frame); }
//
// Thread: any; send() one at a time, and receive() one at a time. Move-only. One that is dropped is
// disconnected.

#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "executors/python/asgi/asgi_event.h"
#include "executors/python/asgi/asgi_scope.h"
#include "executors/python/error.h"
#include "framework/task.h"
#include "framework/time.h"

namespace unirun::python {

class AsgiLine;

struct AsgiOptions {
  std::uint32_t window = 16;  // So many events each way may have been sent and not read.
  // An application whose client has left is told so, and has so long before it is cancelled.
  Duration grace = std::chrono::seconds(5);
};

class [[nodiscard]] AsgiConnection {
 public:
  explicit AsgiConnection(std::shared_ptr<AsgiLine> line) : line_(std::move(line)) {}
  AsgiConnection(AsgiConnection&&) noexcept = default;
  AsgiConnection& operator=(AsgiConnection&& other) noexcept {
    std::swap(line_, other.line_);
    std::swap(read_, other.read_);
    return *this;
  }
  ~AsgiConnection();

  // What the client says: http_request (the first begins the body, the last has no more_body),
  // websocket_receive, or a disconnect. That of a websocket which connects is there by itself.
  // Waits while the application has not read so many. Errors: stream_closed, the application has
  // ended or wants no more; unsupported, no such event is to be sent here; conversion, a text that
  // is no UTF-8.
  Task<Result<void>> send(AsgiEvent event);
  // What the application sends, in an order that is right. Of one that has ended without an answer,
  // the answer 500; of a websocket, websocket_close with 1011 after an exception, with 1012 when
  // the executor is shut down. Then the Error, if there is one: after a response has begun that
  // means to close the client's connection. Nothing at the end.
  Task<std::optional<Result<AsgiEvent>>> receive();

  // The same for threads that may wait. On a loop's: unsupported. Error: timeout, and all is as
  // before, but for an event that was sent.
  [[nodiscard]] Result<void> send_blocking(AsgiEvent event, Duration timeout = Duration::max());
  [[nodiscard]] std::optional<Result<AsgiEvent>> receive_blocking(
      Duration timeout = Duration::max());

  // The client has left: the application receives that after what was sent, and is cancelled after
  // the grace. The code of a websocket is the one that the client gave, else 1006.
  void disconnect(int code = 1006, std::string reason = {});

 private:
  std::shared_ptr<AsgiLine> line_;
  std::deque<Result<AsgiEvent>> read_;  // Taken over, and still to be given.
};

}  // namespace unirun::python
