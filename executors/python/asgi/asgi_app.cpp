#include "executors/python/asgi/asgi_app.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include <utility>

#include "executors/python/asgi/asgi_application.h"
#include "executors/python/asgi/asgi_call.h"
#include "executors/python/asgi/asgi_lifespan.h"
#include "executors/python/asgi/asgi_line.h"
#include "executors/python/calls/blocking_call.h"
#include "executors/python/calls/function_cache.h"
#include "executors/python/calls/invocation.h"
#include "executors/python/interpreter/main_interpreter.h"
#include "executors/python/tasks/waiting.h"

namespace unirun::python {
namespace {

// A future that is settled already.
template <class T>
class Settled final : public Outcome<T> {
 public:
  void run() noexcept override {}
  [[nodiscard]] static future<T> with(Result<T> outcome) {
    auto* const state = new Settled;
    future<T> settled{Shared<Outcome<T>>(state)};
    if (state->claim(outcome.ok() ? Ending::executed : Ending::failed))
      state->settle(std::move(outcome));
    return settled;
  }
};

// Where its loop is: not every module loads in every interpreter.
Result<std::shared_ptr<AsgiApplication>> find_application(const CallSpec& spec) {
  const InMainInterpreter guard;
  if (!guard.attached())
    return Error{.code = Errc::finalized, .message = "Python does not run, or is ending"};
  const auto found = find_function(spec);
  if (!found.ok()) return found.error();
  if (PyCallable_Check(found->get()) == 0) {
    return Error{
        .code = Errc::not_callable,
        .message = fmt::format("{}:{} is no ASGI application: a '{}' cannot be called", spec.module,
                               spec.function, Py_TYPE(found->get())->tp_name)};
  }
  return std::make_shared<AsgiApplication>(spec, Ref::borrow(found->get()));
}

}  // namespace

Result<AsgiApp> AsgiApp::load(std::string_view name) {
  const std::size_t colon = name.find(':');
  if (colon == std::string_view::npos) {
    return Error{.code = Errc::import_failed,
                 .message = fmt::format("{} names no ASGI application: it has to be "
                                        "\"module:attribute\"",
                                        to_string(Value(name)))};
  }
  CallSpec spec{std::string(name.substr(0, colon)), std::string(name.substr(colon + 1))};
  if (const auto named = FunctionCache::check(spec.module, spec.function); !named.ok())
    return named.error();
  auto found = call_and_wait({"AsgiApp::load"},
                             [spec = std::move(spec)] { return find_application(spec); }, {});
  if (!found.ok()) return found.error();
  return AsgiApp(*std::move(found));
}

future<AsgiResponse> AsgiApp::run_async(AsgiRequest request,
                                        std::optional<Duration> timeout) const {
  if (request.scope.type == Scope::Type::http)
    return AsgiCall::start(application_, std::move(request), timeout);
  return Settled<AsgiResponse>::with(
      Error{.code = Errc::unsupported,
            .message = "a websocket is no request with a response: use AsgiApp::open()"});
}

Result<AsgiResponse> AsgiApp::run(AsgiRequest request, std::optional<Duration> timeout) const {
  if (const auto may = check_no_loop("AsgiApp::run"); !may.ok()) return may.error();
  future<AsgiResponse> response = run_async(std::move(request), timeout);
  const std::string name = application_->name();
  const WaitLabel label("AsgiApp::run", name);
  return response.get();
}

AsgiConnection AsgiApp::open(Scope scope, const AsgiOptions& options) const {
  return AsgiConnection(AsgiLine::open(application_, std::move(scope), options));
}

future<void> AsgiApp::lifespan_startup() const {
  auto lifespan = std::make_shared<AsgiLifespan>(application_);
  if (application_->begin_lifespan(lifespan)) return lifespan->start();
  return Settled<void>::with(
      Error{.code = Errc::unsupported,
            .message = fmt::format("{} was started already: lifespan_shutdown() ends that",
                                   application_->name())});
}

future<void> AsgiApp::lifespan_shutdown() const {
  if (const auto lifespan = application_->take_lifespan()) return lifespan->shut_down();
  return Settled<void>::with({});
}

}  // namespace unirun::python
