#include "executors/python/calls/blocking_call.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include "executors/python/contexts/context_state.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/runtime.h"
#include "executors/python/tasks/worker.h"

namespace unirun::python {

namespace {

UNIRUN_APART Result<void> too_deep(std::string_view what) {
  return Error{.code = Errc::depth_exceeded,
               .message = fmt::format("{}(): Python calls C++ calls Python more than {} deep, "
                                      "which is the limit (Config::max_depth)",
                                      what, CallDepth::limit())};
}

UNIRUN_APART Result<void> has_ended() {
  return Error{.code = Errc::finalized, .message = "Python has ended, or is about to"};
}

UNIRUN_APART Result<void> no_stack(const unirun::Error& why) {
  return Error{.code = Errc::depth_exceeded,
               .message = fmt::format("at depth {} the stack is used up, and there is no thread to "
                                      "go on with: {}",
                                      CallDepth::current(), why.message)};
}

}  // namespace

Result<void> check_no_loop(std::string_view what) {
  if (EventLoop::current() == nullptr) return check_no_coroutine(what);
  return Error{.code = Errc::unsupported,
               .message = fmt::format("{}() would block this event loop's thread: use async_call() "
                                      "or submit(), or another thread",
                                      what)};
}

Result<void> check_call(std::string_view what) {
  auto may = check_no_loop(what);
  return may.ok() && CallDepth::current() > CallDepth::limit() ? too_deep(what) : may;
}

bool is_for_this_worker(const CallOptions& options) {
  if (PythonWorker::current() == nullptr || options.timeout) return false;
  if (options.token.on_cancel([] {})) return false;
  const ContextState* const here = ContextState::current();
  return options.context == ContextId::none || (here != nullptr && here->id() == options.context);
}

Error named(const WaitLabel& call, ContextId context, Error error) {
  std::string name = call.text();
  if (context != ContextId::none)
    name += fmt::format(" in context '{}'", Runtime::get().name_of_context(context));
  error.message = fmt::format("{}, {}", name, error.message);
  return error;
}

Result<void> run_on_this_worker(const CallOptions& options, const std::function<void()>& work) {
  const GILGuard guard;
  if (!guard.attached()) return has_ended();
  ContextState* const outer = ContextState::current();
  if (options.context == ContextId::none) ContextState::set_current(nullptr);
  const unirun::Status ran = PythonWorker::current()->run_with_room(work);
  ContextState::set_current(outer);
  return ran.ok() ? Result<void>() : no_stack(ran.error());
}

}  // namespace unirun::python
