#include "executors/python/contexts/context.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include "executors/python/async/coroutine_loop.h"
#include "executors/python/calls/blocking_call.h"
#include "executors/python/calls/function_cache.h"
#include "executors/python/calls/invocation.h"
#include "executors/python/contexts/context_state.h"
#include "executors/python/runtime.h"
#include "executors/python/values/conversion.h"

namespace unirun::python {

Context& Context::operator=(Context&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

Context::~Context() {
  if (valid()) state_->close();
}

ContextId Context::id() const { return state_->id(); }

const std::string& Context::name() const { return state_->name(); }

std::int64_t Context::interpreter_id() const { return state_->interpreter_id(); }

std::uint64_t Context::thread_id() const { return state_->thread_id(); }

CallOptions Context::here(const CallOptions& options) const {
  CallOptions bound = options;
  bound.context = id();
  return bound;
}

// ---- Running code in it ----

Result<Value> Context::call(std::string_view module, std::string_view function, Args args,
                            Kwargs kwargs, const CallOptions& options) {
  return PythonExecutor::call(module, function, std::move(args), std::move(kwargs), here(options));
}

Result<Value> Context::eval(std::string_view code, const Kwargs& locals,
                            const CallOptions& options) {
  return call_and_wait(
      {"eval"},
      [code = std::string(code), locals] { return ContextState::current()->eval(code, locals); },
      here(options));
}

Result<void> Context::exec(std::string_view code, const CallOptions& options) {
  return call_and_wait(
      {"exec"}, [code = std::string(code)] { return ContextState::current()->exec(code); },
      here(options));
}

Result<Value> Context::call_method(const Ref& object, std::string_view name, Args args,
                                   Kwargs kwargs, const CallOptions& options) {
  const auto call = [object, name = std::string(name), args = std::move(args),
                     kwargs = std::move(kwargs)]() -> Result<Value> {
    const auto method = attribute_of(object, name);
    if (!method.ok()) return method.error();
    return call_for_value(method->get(), args, kwargs);
  };
  return call_and_wait({"call_method"}, call, here(options));
}

Result<Value> Context::getattr(const Ref& object, std::string_view name,
                               const CallOptions& options) {
  const auto get = [object, name = std::string(name)]() -> Result<Value> {
    const auto attribute = attribute_of(object, name);
    if (!attribute.ok()) return attribute.error();
    return to_value(attribute->get(), exchange_options());
  };
  return call_and_wait({"getattr"}, get, here(options));
}

// ---- Its life ----

Result<void> Context::interrupt() {
  if (Runtime::get().interrupt(*state_)) return {};
  return Error{.code = Errc::unsupported,
               .message = fmt::format("nothing of context {} runs now", name())};
}

Result<void> Context::reset(const CallOptions& options) {
  return call_and_wait(
      {"reset"}, [] { return ContextState::current()->reset(); }, here(options));
}

Result<void> Context::reload(std::string_view module, const CallOptions& options) {
  if (const auto named = FunctionCache::check(module, "reload"); !named.ok()) return named.error();
  return call_and_wait(
      {"reload"}, [module = std::string(module)] { return reload_module(module); }, here(options));
}

Result<void> Context::close() {
  state_->close();
  if (EventLoop::current() != nullptr || CoroutineLoop::current() != nullptr) return {};
  return state_->wait_until_ended();
}

}  // namespace unirun::python
