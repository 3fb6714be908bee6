// AsgiLine is what a connection and its application share: the events on their way, each way with a
// window of its own.
//
// Thread: any, but for what AsgiExchange names.

#pragma once

#include "executors/python/asgi/asgi_exchange.h"
// Python.h first.

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "executors/python/asgi/asgi_application.h"
#include "executors/python/asgi/asgi_connection.h"
#include "executors/python/asgi/asgi_task.h"
#include "executors/python/async/stream_state.h"
#include "framework/timers.h"

namespace unirun::python {

class AsgiLine final : public AsgiExchange {
 public:
  using Events = StreamState<AsgiEvent>;

  [[nodiscard]] static std::shared_ptr<AsgiLine> open(std::shared_ptr<AsgiApplication> application,
                                                      Scope scope, const AsgiOptions& options);

  AsgiLine(std::shared_ptr<AsgiApplication> application, Scope scope, const AsgiOptions& options);

  // ---- For the connection ----

  // Takes what the client says. True: it is to wait for room before it says more.
  [[nodiscard]] Result<bool> say(AsgiEvent event);
  [[nodiscard]] Events& to_application() { return *to_application_; }
  [[nodiscard]] Events& to_client() { return *to_client_; }
  void disconnect(int code, std::string reason);

  void fail(const Error& error) noexcept override;

 private:
  [[nodiscard]] Reference scope(const AsgiWords& words) override;
  [[nodiscard]] std::optional<AsgiEvent> next() override;
  [[nodiscard]] bool wait_for_next(std::function<void()> go_on) override;
  [[nodiscard]] bool put(AsgiEvent event) override;
  [[nodiscard]] bool wait_for_room(std::function<void()> go_on) override;
  [[nodiscard]] bool is_gone() const override { return is_gone_.load(); }
  void finish(End end) noexcept override;

  [[nodiscard]] AsgiEvent farewell();
  void close(std::optional<Error> error);
  void cancel_application();

  const Scope scope_;
  const Duration grace_;
  const std::shared_ptr<Events> to_application_;
  const std::shared_ptr<Events> to_client_;
  Events::Items taken_;  // Of those to the application: taken over, and still to be given.
  AsgiShare<void> task_;
  std::atomic<bool> is_gone_{false};       // The client is.
  std::atomic<bool> has_said_all_{false};  // Of a request's body.

  std::mutex mutex_;  // Guards the rest.
  int code_ = 1006;   // Of a websocket that is closed.
  std::string reason_;
  TimerId grace_timer_ = TimerId::none;
};

}  // namespace unirun::python
