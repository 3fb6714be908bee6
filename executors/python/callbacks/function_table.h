// FunctionTable holds the C++ functions of this process that Python code calls by their names, in
// every interpreter.
//
// Thread: any, with the GIL or without.

#pragma once

#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executors/python/callbacks/native_function.h"
#include "executors/python/error.h"

namespace unirun::python {

// Keeps a function registered. Its end, or reset(), refuses further calls, waits for those that
// run, and drops the function. Thread: any, one at a time; a GIL that is held is let go of.
class [[nodiscard]] Registration {
 public:
  // Of nothing.
  Registration() = default;
  explicit Registration(std::shared_ptr<NativeFunction> function)
      : function_(std::move(function)) {}
  explicit Registration(Error error) : error_(std::move(error)) {}
  Registration(Registration&& other) noexcept
      : function_(std::exchange(other.function_, nullptr)), error_(std::move(other.error_)) {}
  Registration& operator=(Registration&& other) noexcept;
  ~Registration() { reset(); }

  // Whether it is registered; if not, why.
  [[nodiscard]] bool ok() const { return function_ != nullptr; }
  explicit operator bool() const { return ok(); }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

  void reset();
  // Leaves it registered for as long as the process runs.
  void keep() { function_.reset(); }

 private:
  std::shared_ptr<NativeFunction> function_;
  std::optional<Error> error_;
};

class FunctionTable {
 public:
  [[nodiscard]] static FunctionTable& get();

  // Errors: unsupported, for a name that is taken, or none, and for On::loop without a loop.
  [[nodiscard]] Registration add(std::shared_ptr<NativeFunction> function);
  // Only that very function.
  void remove(const NativeFunction& function);

  // Null where there is none of that name.
  [[nodiscard]] std::shared_ptr<NativeFunction> find(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> names() const;  // In their order.

 private:
  mutable std::shared_mutex mutex_;  // Guards the next. Nobody asks for the GIL within.
  std::map<std::string, std::shared_ptr<NativeFunction>, std::less<>> functions_;
};

// As PythonExecutor::register_function().
template <class F>
Registration register_native(std::string name, F&& function, FunctionOptions options) {
  if (options.thread == On::loop && options.loop == nullptr) options.loop = EventLoop::current();
  return FunctionTable::get().add(std::make_shared<TypedFunction<std::decay_t<F>>>(
      std::move(name), std::forward<F>(function), options));
}

}  // namespace unirun::python
