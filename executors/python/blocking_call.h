// How a call that waits is made: submitted, to be cancelled by its token, and waited for.
//
// Thread: any that may block.

#pragma once

#include <string_view>
#include <utility>

#include "executors/python/python_executor.h"

namespace unirun::python {

// On a loop's thread: `what` may not wait there. Else nothing.
[[nodiscard]] std::optional<Error> refuse_on_loop(std::string_view what);

template <class Function>
auto call_and_wait(std::string_view what, Function function, const CallOptions& options)
    -> Result<detail::ValueOf<Function&>> {
  if (auto refused = refuse_on_loop(what)) return *std::move(refused);
  auto outcome = PythonExecutor::submit(
      std::move(function),
      {.timeout = options.timeout, .context = options.context, .priority = options.priority});
  const unirun::Registration cancellation =
      options.token.on_cancel([&outcome] { outcome.cancel(); });
  return outcome.get();
}

}  // namespace unirun::python
