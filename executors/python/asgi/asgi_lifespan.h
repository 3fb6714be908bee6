// AsgiLifespan is the call of an ASGI application in which it starts, waits for its end, and cleans
// up.
//
// Thread: as AsgiExchange names them.

#pragma once

#include "executors/python/asgi/asgi_exchange.h"
// Python.h first.

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "executors/python/asgi/asgi_application.h"
#include "executors/python/asgi/asgi_task.h"

namespace unirun::python {

class AsgiLifespan final : public AsgiExchange {
 public:
  explicit AsgiLifespan(std::shared_ptr<AsgiApplication> application)
      : AsgiExchange(AsgiProtocol::Kind::lifespan, std::move(application)) {}

  // Both: once. Thread: any.
  [[nodiscard]] future<void> start();
  [[nodiscard]] future<void> shut_down();

  void fail(const Error& error) noexcept override;

 private:
  [[nodiscard]] Reference scope(const AsgiWords& words) override;
  [[nodiscard]] std::optional<AsgiEvent> next() override;
  [[nodiscard]] bool wait_for_next(std::function<void()> go_on) override;
  [[nodiscard]] bool put(AsgiEvent event) override;
  void finish(End end) noexcept override;

  Ref state_;
  bool has_begun_ = false;
  bool has_ended_ = false;
  AsgiShare<void> task_;
  AsgiShare<void> startup_;   // What is waited for: it has started,
  AsgiShare<void> shutdown_;  // it has cleaned up.

  std::mutex mutex_;  // Guards the rest.
  bool is_to_end_ = false;
  bool is_over_ = false;
  std::optional<Error> error_;   // By which it has ended since it began.
  std::function<void()> go_on_;  // It waits for its end.
};

}  // namespace unirun::python
