// What goes wrong when C++ runs Python, as a value: a word to compare, and for a Python exception
// all that Python would print of it.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "executors/python/values/value.h"
#include "framework/result.h"

namespace unirun::python {

enum class Errc : std::uint8_t {
  ok,  // Never in an Error: the 0 of initialize() and shutdown().
  not_initialized,
  already_initialized,
  finalized,
  queue_full,
  overloaded,
  timeout,
  cancelled,
  interrupted,
  python_exception,
  import_failed,
  not_callable,
  conversion,
  wrong_interpreter,
  depth_exceeded,
  memory_limit,
  worker_lost,
  stuck,
  loop_running,
  loop_stopped,
  stream_closed,
  unsupported,
  unknown_function,
};

// "queue_full", as in logs and in Python.
[[nodiscard]] std::string_view to_string(Errc code);

struct Error {
  Errc code = Errc::unsupported;
  // Of the exception, "builtins.ValueError"; of C++'s, the demangled name. Or nothing.
  std::string type{};
  // Which, where, and what would be right; for an exception its text and notes.
  std::string message{};
  // As Python prints it, with causes and notes; empty where there is none.
  std::string traceback{};
  // The exception's args where they are values; null otherwise.
  Value payload{};
  // The exception itself, where error_of_exception() was asked to keep it.
  Ref exception{};
};

// The same, in a place: "argument 2: ...".
[[nodiscard]] Error error_in(std::string_view place, Error error);

template <class T>
using Result = unirun::Result<T, Error>;

}  // namespace unirun::python
