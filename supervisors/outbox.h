// Outbox holds what the supervisors of one tree have to tell, until all of them have done what
// they had to do. So a crash is answered first and told afterwards, the order of the telling is
// the order of the happening over all levels of the tree, and whoever is told may call the tree:
// no supervisor is in the middle of anything.
//
// Thread: the loop's. Owner: the tree.

#pragma once

#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <variant>

#include "framework/event_bus.h"

namespace unirun::detail {

class Outbox {
 public:
  explicit Outbox(EventBus& events) : events_(events) {}
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  [[nodiscard]] bool wants(const EventPayload& payload) const {
    return events_.wants(static_cast<EventKind>(payload.index() - 1));
  }
  void publish(std::string path, EventPayload payload) {
    waiting_.emplace_back(Publication{std::move(path), std::move(payload)});
  }
  void call(std::function<void()> function) { waiting_.emplace_back(std::move(function)); }

  // Supervisors act within a turn; turns nest, and at the end of the outermost everything is told.
  class Turn {
   public:
    explicit Turn(Outbox& outbox) : outbox_(outbox) { ++outbox_.turns_; }
    ~Turn() {
      if (--outbox_.turns_ == 0) outbox_.tell();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Outbox& outbox_;
  };

 private:
  struct Publication {
    std::string path;
    EventPayload payload;
  };

  // What is told may make supervisors act, and those have more to tell: it goes to the end.
  void tell() {
    if (std::exchange(telling_, true)) return;
    while (!waiting_.empty()) {
      auto next = std::move(waiting_.front());
      waiting_.pop_front();
      if (auto* publication = std::get_if<Publication>(&next)) {
        events_.publish(std::move(publication->path), std::move(publication->payload));
      } else {
        std::get<std::function<void()>>(next)();
      }
    }
    telling_ = false;
  }

  EventBus& events_;
  std::deque<std::variant<Publication, std::function<void()>>> waiting_;
  unsigned turns_ = 0;
  bool telling_ = false;
};

}  // namespace unirun::detail
