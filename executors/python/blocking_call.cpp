#include "executors/python/blocking_call.h"

#include <fmt/format.h>

namespace unirun::python {

std::optional<Error> refuse_on_loop(std::string_view what) {
  if (EventLoop::current() == nullptr) return std::nullopt;
  return Error{.code = Errc::unsupported,
               .message = fmt::format("{}() would block this event loop's thread: use async_call() "
                                      "or submit(), or another thread",
                                      what)};
}

}  // namespace unirun::python
