// A stand-in is a fresh thread that runs one thing for the calling one, which waits: with a stack
// and a recursion limit of its own, in the same interpreter and the same context variables.
//
// Thread: with the GIL, which the caller lets go of meanwhile.

#pragma once

#include <cstddef>
#include <functional>

#include "framework/result.h"

namespace unirun::python {

// `work` runs with the GIL, must not throw, and leaves no exception set. Errors: start_failed,
// there is no thread to be had, and it has not run.
[[nodiscard]] unirun::Status run_on_stand_in(const std::function<void()>& work,
                                             std::size_t stack_bytes);

}  // namespace unirun::python
