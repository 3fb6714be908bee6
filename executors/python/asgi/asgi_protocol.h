// AsgiProtocol is how far a connection is, and so what its application may send next.
//
// Thread: the loop's on which the application runs; what changes nothing, any.

#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "executors/python/asgi/asgi_event.h"

namespace unirun::python {

class AsgiProtocol {
 public:
  enum class Kind : std::uint8_t { http, websocket, lifespan };

  explicit AsgiProtocol(Kind kind) : kind_(kind) {}

  [[nodiscard]] Kind kind() const { return kind_; }
  // The application has answered; all of it.
  [[nodiscard]] bool has_begun() const { return stage_ != Stage::waiting; }
  [[nodiscard]] bool is_complete() const { return stage_ == Stage::complete; }
  // A websocket that was accepted and not closed.
  [[nodiscard]] bool is_accepted() const {
    return kind_ == Kind::websocket && stage_ == Stage::open;
  }

  // The application sends this. Something: it may not now, and why.
  [[nodiscard]] std::optional<std::string> take(const AsgiEvent& event);

  // What a client is told where the application has ended before it had said all.
  [[nodiscard]] std::vector<AsgiEvent> last_words(bool has_failed) const;

 private:
  enum class Stage : std::uint8_t {
    waiting,
    open,     // A response, a websocket or a lifespan has begun,
    denying,  // the response to a websocket that is refused,
    complete,
  };

  // The stage after it; nothing: it may not be sent now.
  [[nodiscard]] std::optional<Stage> after(const AsgiEvent& event) const;
  [[nodiscard]] std::string expected() const;

  const Kind kind_;
  std::atomic<Stage> stage_{Stage::waiting};
};

}  // namespace unirun::python
