// Context is a place for Python code that keeps state: names of its own, and one thread for life,
// so that what belongs to a thread (a connection of sqlite's, a stream of torch's) stays where it
// was made. Contexts that share a worker cost little; they share its interpreter's modules, too.
//
//   auto counter = *PythonExecutor::bind({.preload = "n = 0\ndef add():\n  global n\n  n += 1"});
//   counter.call("__main__", "add");        // "__main__" is the context itself.
//   counter.eval("n");                      // 1
//
// Thread: any. Each call waits, and is refused on an event loop's thread (unsupported) and inside a
// coroutine (loop_running); submit() takes the context's id() instead. Errors: besides those named,
// unsupported, it is closed; worker_lost, its worker ran code that did not end; and those of
// PythonExecutor::call().
// Move-only; its end closes the context, without waiting.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "executors/python/calls/call_spec.h"
#include "executors/python/error.h"
#include "executors/python/values/typed_value.h"

namespace unirun::python {

class ContextState;

class [[nodiscard]] Context {
 public:
  // Of nothing: only assignment and valid() make sense.
  Context() = default;
  explicit Context(std::shared_ptr<ContextState> state) : state_(std::move(state)) {}
  Context(Context&&) noexcept = default;
  Context& operator=(Context&& other) noexcept;
  ~Context();

  // REQUIRES, below: valid(), which it is until it is moved from.
  [[nodiscard]] bool valid() const { return state_ != nullptr; }
  [[nodiscard]] ContextId id() const;
  [[nodiscard]] const std::string& name() const;
  // As Python numbers interpreters: 0 is the main one.
  [[nodiscard]] std::int64_t interpreter_id() const;
  // As threading.get_native_id() has it.
  [[nodiscard]] std::uint64_t thread_id() const;

  // ---- Running code in it ----

  [[nodiscard]] Result<Value> call(std::string_view module, std::string_view function,
                                   Args args = {}, Kwargs kwargs = {},
                                   const CallOptions& options = {});
  template <class T>
  [[nodiscard]] Result<T> call_as(std::string_view module, std::string_view function,
                                  Args args = {}, Kwargs kwargs = {},
                                  const CallOptions& options = {}) {
    return value_as<T>(call(module, function, std::move(args), std::move(kwargs), options));
  }

  // The value of an expression, which sees `locals` before the context's names; as with Python's
  // eval(), a lambda within sees only the latter.
  [[nodiscard]] Result<Value> eval(std::string_view code, const Kwargs& locals = {},
                                   const CallOptions& options = {});
  // Runs statements, whose names stay.
  [[nodiscard]] Result<void> exec(std::string_view code, const CallOptions& options = {});

  // Of an object of the same interpreter: wrong_interpreter, unknown_function, not_callable.
  [[nodiscard]] Result<Value> call_method(const Ref& object, std::string_view name, Args args = {},
                                          Kwargs kwargs = {}, const CallOptions& options = {});
  [[nodiscard]] Result<Value> getattr(const Ref& object, std::string_view name,
                                      const CallOptions& options = {});

  // ---- Its life ----

  // Raises Interrupted in its code. Errors: unsupported, nothing of it runs now.
  [[nodiscard]] Result<void> interrupt();
  // Drops its names, as close() does, and begins anew. Errors: those of its preload.
  [[nodiscard]] Result<void> reset(const CallOptions& options = {});
  // Executes a module of its interpreter anew, or imports it. Errors: import_failed.
  [[nodiscard]] Result<void> reload(std::string_view module, const CallOptions& options = {});
  // Takes nothing more, has what is queued run, and drops its names, the last first, on its own
  // thread. Waits for that, but neither on a loop's thread nor in its own code. Errors:
  // stuck, coroutines of it went on after they were cancelled, and were given up; worker_lost, they
  // may never be dropped.
  Result<void> close();

 private:
  [[nodiscard]] CallOptions here(const CallOptions& options) const;

  std::shared_ptr<ContextState> state_;
};

}  // namespace unirun::python
