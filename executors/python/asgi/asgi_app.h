// AsgiApp is a web application of Python's, as ASGI has it, behind a server of C++.
//
//   auto app = AsgiApp::load("shop.web:app");
//   co_await app->lifespan_startup();
//   Result<AsgiResponse> answer = co_await app->run_async({.scope = scope, .body = body});
//
// All requests run beside one another on one loop of asyncio's, which is the application's own as
// long as it gets on.
//
// Thread: any, unless said otherwise. Cheap to copy.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "executors/python/asgi/asgi_connection.h"
#include "executors/python/asgi/asgi_scope.h"
#include "executors/python/error.h"
#include "executors/python/future.h"
#include "executors/python/values/value.h"
#include "framework/time.h"

namespace unirun::python {

class AsgiApplication;

struct AsgiRequest {
  Scope scope{};
  Bytes body{};
};

struct AsgiResponse {
  int status = 200;
  AsgiHeaders headers{};
  Bytes body{};
  // Why it is a 500 that the application has not sent: what that raised, or that it sent nothing.
  std::optional<Error> error{};
};

class AsgiApp {
 public:
  // "module:attribute", with dots in either; the module is imported if it is not yet. Waits: on an
  // event loop's thread `unsupported`. Errors: import_failed, also of a name that is none;
  // unknown_function; not_callable.
  [[nodiscard]] static Result<AsgiApp> load(std::string_view name);

  // One request. The response is there as soon as the application has sent all of it; what it does
  // afterwards, in the background, goes on. Whatever goes wrong before it has sent anything is a
  // response with an `error`. Errors: python_exception, it went wrong later, and the client's
  // connection is to be closed; timeout and cancelled, which cancel the application at once;
  // conversion of a scope that is no UTF-8; queue_full and the others of
  // PythonExecutor::submit(); unsupported, a websocket.
  [[nodiscard]] future<AsgiResponse> run_async(AsgiRequest request,
                                               std::optional<Duration> timeout = {}) const;
  // The same, and waits. On a thread of an event loop's, or of asyncio's: unsupported.
  [[nodiscard]] Result<AsgiResponse> run(AsgiRequest request,
                                         std::optional<Duration> timeout = {}) const;

  // A request, or a websocket, whose events are exchanged one by one. Errors come out of the
  // connection.
  [[nodiscard]] AsgiConnection open(Scope scope, const AsgiOptions& options = {}) const;

  // Has the application start: before its first request. What it puts into its `state` each later
  // request has a copy of. One that knows of no lifespan (it raises, or returns) has nothing to
  // start. Errors: python_exception, it says that it has failed, and why; unsupported, it was
  // started already; those of submit().
  [[nodiscard]] future<void> lifespan_startup() const;
  // Has it clean up: after its last request, and before PythonExecutor::shutdown(), which would
  // wait for it. Errors: python_exception, it failed or has ended by an exception since it began.
  [[nodiscard]] future<void> lifespan_shutdown() const;

 private:
  explicit AsgiApp(std::shared_ptr<AsgiApplication> application)
      : application_(std::move(application)) {}

  std::shared_ptr<AsgiApplication> application_;
};

}  // namespace unirun::python
