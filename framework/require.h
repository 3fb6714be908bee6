// UNIRUN_REQUIRE states what a caller has promised. It stays on in release: a broken promise is a
// programmer's error, and going on with a wrong state costs more than ending.

#pragma once

namespace unirun {

// Writes "file:line: requires EXPRESSION" to stderr and aborts.
[[noreturn]] void requirement_failed(const char* expression, const char* file, int line) noexcept;

[[noreturn]] inline void unreachable() { __builtin_unreachable(); }

}  // namespace unirun

#define UNIRUN_REQUIRE(expression)     \
  ((expression) ? static_cast<void>(0) \
                : ::unirun::requirement_failed(#expression, __FILE__, __LINE__))
