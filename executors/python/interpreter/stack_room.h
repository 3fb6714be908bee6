// How much deeper this thread may go: its native stack, and what Python's recursion limit leaves.
//
// Thread: each its own, with the GIL.

#pragma once

namespace unirun::python {

// Whether there is enough for one more call of Python code, which needs both for itself.
[[nodiscard]] bool has_stack_room();

}  // namespace unirun::python
