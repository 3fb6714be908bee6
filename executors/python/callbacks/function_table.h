// FunctionTable holds the C++ functions of this process that Python code calls by their names, in
// every interpreter.
//
// Thread: any, with the GIL or without.

#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <new>
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

// Where functions are that this process calls and does not have: its host's, in a worker process.
// Thread: any, without the GIL; may block.
class FunctionSource {
 public:
  // Errors: unknown_function; or why nobody can be asked.
  [[nodiscard]] virtual Result<std::shared_ptr<NativeFunction>> find(std::string_view name) = 0;
  // One that find() gave before, unless it is known to have ended; else find().
  [[nodiscard]] virtual Result<std::shared_ptr<NativeFunction>> recall(std::string_view name) = 0;
  [[nodiscard]] virtual Result<std::vector<std::string>> names() = 0;

 protected:
  ~FunctionSource() = default;
};

class FunctionTable {
 public:
  [[nodiscard]] static FunctionTable& get();

  // Asked for what is not here, from now on and for ever; null: nobody is.
  void set_source(FunctionSource* source) { source_.store(source); }

  // Errors: unsupported, for a name that is taken, or none, and for On::loop without a loop.
  [[nodiscard]] Registration add(std::shared_ptr<NativeFunction> function);
  // Only that very function.
  void remove(const NativeFunction& function);

  // A GIL that is held is let go of while a source is asked. Errors: unknown_function; the
  // source's.
  [[nodiscard]] Result<std::shared_ptr<NativeFunction>> find(std::string_view name) const;
  // The same, to call it now: its end may come to light only by the call.
  [[nodiscard]] Result<std::shared_ptr<NativeFunction>> find_to_call(std::string_view name) const;
  [[nodiscard]] Result<std::vector<std::string>> names() const;  // In their order.

  // In a child of fork(): who held the lock is not here.
  void forget() { new (&mutex_) std::shared_mutex; }

 private:
  [[nodiscard]] std::shared_ptr<NativeFunction> find_here(std::string_view name) const;

  std::atomic<FunctionSource*> source_{nullptr};
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
