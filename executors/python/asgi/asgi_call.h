// AsgiCall is one request whose body is there and whose response is collected: what
// AsgiApp::run_async() is.
//
// Thread: as AsgiExchange names them.

#pragma once

#include "executors/python/asgi/asgi_exchange.h"
// Python.h first.

#include <memory>
#include <optional>

#include "executors/python/asgi/asgi_app.h"
#include "executors/python/asgi/asgi_application.h"
#include "executors/python/asgi/asgi_task.h"

namespace unirun::python {

class AsgiCall final : public AsgiExchange {
 public:
  [[nodiscard]] static future<AsgiResponse> start(std::shared_ptr<AsgiApplication> application,
                                                  AsgiRequest request,
                                                  std::optional<Duration> timeout);

  AsgiCall(std::shared_ptr<AsgiApplication> application, AsgiRequest request)
      : AsgiExchange(AsgiProtocol::Kind::http, std::move(application)),
        request_(std::move(request)) {}

  void fail(const Error& error) noexcept override;

 private:
  [[nodiscard]] Reference scope(const AsgiWords& words) override;
  [[nodiscard]] std::optional<AsgiEvent> next() override;
  // Until it has ended, which wakes whoever waits.
  [[nodiscard]] bool wait_for_next(std::function<void()> /*go_on*/) override { return true; }
  [[nodiscard]] bool put(AsgiEvent event) override;
  void finish(End end) noexcept override;

  AsgiRequest request_;
  bool has_given_body_ = false;
  AsgiResponse response_;
  AsgiShare<AsgiResponse> task_;
};

// A request whose application could not be called has an answer all the same.
template <>
Result<AsgiResponse> AsgiTask<AsgiResponse>::outcome_of_failure(Error error);

}  // namespace unirun::python
