// What a context is to be.
//
// A value.

#pragma once

#include <cstdint>
#include <string>

#include "executors/python/interpreter/execution_mode.h"

namespace unirun::python {

// Whose names a context's code sees and makes.
enum class Namespace : std::uint8_t {
  fresh,  // Its own, with nothing but the builtins.
  main,   // The interpreter's __main__, with everybody else who says so. They outlive the context.
};

struct BindOptions {
  std::string name{};  // For messages and tracebacks; empty: "context-7".
  // Where it runs. Refused, but for automatic and multi_executor: `unsupported`.
  ExecutionMode mode = ExecutionMode::automatic;
  Namespace namespace_ = Namespace::fresh;
  std::string preload{};  // Code that runs in its names before anything else, and after reset().
};

}  // namespace unirun::python
