#include "executors/python/interpreter/stack_room.h"

#include "executors/python/python.h"
// Python.h first.

#include <pthread.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace unirun::python {
namespace {

// So much of each is left to the code that is called next.
constexpr std::size_t part_kept = 4;
constexpr std::size_t bytes_kept = std::size_t{256} << 10;

struct Stack {
  std::uintptr_t lowest = 0;
  std::size_t kept = 0;
};

Stack find_stack() {
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return {};
  void* lowest = nullptr;
  std::size_t size = 0;
  ::pthread_attr_getstack(&attributes, &lowest, &size);
  ::pthread_attr_destroy(&attributes);
  return {reinterpret_cast<std::uintptr_t>(lowest), std::max(size / part_kept, bytes_kept)};
}

bool has_native_room() {
  thread_local const Stack stack = find_stack();
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  return here - stack.lowest > stack.kept;
}

bool has_part(int left, int limit) { return left > limit / static_cast<int>(part_kept); }

bool has_python_room() {
  const PyThreadState* const state = PyThreadState_Get();
#if PY_VERSION_HEX < 0x030C0000
  return has_part(state->recursion_remaining, state->recursion_limit);
#else
#if PY_VERSION_HEX >= 0x030E0000  // Here C code is bounded by its stack.
  return has_part(state->py_recursion_remaining, state->py_recursion_limit);
#else
#ifndef Py_C_RECURSION_LIMIT
  constexpr int c_limit = C_RECURSION_LIMIT;
#else
  constexpr int c_limit = Py_C_RECURSION_LIMIT;
#endif
  return has_part(state->py_recursion_remaining, state->py_recursion_limit) &&
         has_part(state->c_recursion_remaining, c_limit);
#endif
#endif
}

}  // namespace

bool has_stack_room() { return has_native_room() && has_python_room(); }

}  // namespace unirun::python
