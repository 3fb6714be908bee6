// How a call that waits is made: on a worker, which waits for nobody, as a call, with its caller
// beneath it on the stack; elsewhere it is submitted, to be cancelled by its token.
//
// Thread: any that may block.

#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "executors/python/calls/apart.h"
#include "executors/python/calls/call_depth.h"
#include "executors/python/python_executor.h"
#include "executors/python/tasks/waiting.h"

namespace unirun::python {

// On a loop's thread `what` may not wait. Errors: unsupported on one of ours, loop_running on one
// of asyncio's.
[[nodiscard]] Result<void> check_no_loop(std::string_view what);

// Nor may it call deeper than Config::max_depth. Errors: depth_exceeded, too.
[[nodiscard]] Result<void> check_call(std::string_view what);

// Whether this is a worker that may run such a call itself: one for any worker or for the context
// that runs here, without a timeout or a token, which only a task of its own can obey.
[[nodiscard]] bool is_for_this_worker(const CallOptions& options);

// Runs `work` with the GIL and with room for it. Errors: finalized; depth_exceeded, no thread can
// be had to go on.
[[nodiscard]] Result<void> run_on_this_worker(const CallOptions& options,
                                              const std::function<void()>& work);

// What is called, for whoever asks who waits.
struct CallName {
  std::string_view what;  // Of ours: "call".
  std::string_view module{};
  std::string_view function{};
};

// An error that says of which call it is.
[[nodiscard]] Error named(const WaitLabel& call, ContextId context, Error error);

template <class T, class Function>
UNIRUN_APART Result<T> submit_and_wait(const CallName& name, Function& function,
                                       const CallOptions& options) {
  auto outcome = PythonExecutor::submit(
      [function = std::move(function), depth = CallDepth::current()]() mutable {
        const CallDepth same_chain(depth);
        return function();
      },
      {.timeout = options.timeout, .context = options.context, .priority = options.priority});
  const unirun::Registration cancellation =
      options.token.on_cancel([&outcome] { outcome.cancel(); });
  const WaitLabel label(name.what, name.module, name.function);
  auto result = outcome.get();
  if (!result.ok() && result.error().code == Errc::timeout)
    return named(label, options.context, result.error());
  return result;
}

template <class Function>
auto call_and_wait(const CallName& name, Function function, const CallOptions& options)
    -> Result<detail::ValueOf<Function&>> {
  using T = detail::ValueOf<Function&>;
  if (const auto may = check_call(name.what); !may.ok()) return may.error();
  if (!is_for_this_worker(options)) return submit_and_wait<T>(name, function, options);
  std::optional<Result<T>> outcome;
  const auto ran =
      run_on_this_worker(options, [&] { outcome.emplace(detail::outcome_of<T>(function)); });
  if (!ran.ok()) return ran.error();
  return *std::move(outcome);
}

}  // namespace unirun::python
