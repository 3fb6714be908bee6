#include "executors/python/callbacks/native_call.h"

#include <fmt/format.h>

#include <exception>
#include <optional>

#include "executors/python/async/asyncio_mailbox.h"
#include "executors/python/async/coroutine_loop.h"
#include "executors/python/callbacks/caller_variables.h"
#include "executors/python/callbacks/calling_process.h"
#include "executors/python/calls/apart.h"
#include "executors/python/calls/call_depth.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/tasks/task_calls.h"
#include "executors/python/tasks/waiting.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

// ---- Arguments and answers ----

struct CppArguments {
  Array args;
  Kwargs kwargs;
};

bool append_value(Array& into, PyObject* object, const std::string& name) {
  Result<Value> value = to_value(object, exchange_options());
  if (value.ok()) return into.push_back(*std::move(value)), true;
  Error error = value.error();
  error.message = fmt::format("{}(): argument {}: {}", name, into.size() + 1, error.message);
  raise_error(error);
  return false;
}

bool add_named(Kwargs& into, PyObject* key, PyObject* object, const std::string& name) {
  Py_ssize_t size = 0;
  const char* const begin = PyUnicode_AsUTF8AndSize(key, &size);
  if (begin == nullptr) return false;
  const std::string text(begin, static_cast<std::size_t>(size));
  Result<Value> value = to_value(object, exchange_options());
  if (value.ok()) return into.append(text, *std::move(value)), true;
  Error error = value.error();
  error.message = fmt::format("{}(): argument '{}': {}", name, text, error.message);
  raise_error(error);
  return false;
}

// Nothing: an exception is set.
UNIRUN_APART std::optional<CppArguments> to_arguments(const PythonArguments& given,
                                                      const std::string& name) {
  CppArguments arguments;
  arguments.args.reserve(static_cast<std::size_t>(given.count));
  for (Py_ssize_t i = 0; i < given.count; ++i) {
    if (!append_value(arguments.args, given.values[i], name)) return {};
  }
  const Py_ssize_t named = given.names != nullptr ? PyTuple_GET_SIZE(given.names) : 0;
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* const key = PyTuple_GET_ITEM(given.names, i);
    if (!add_named(arguments.kwargs, key, given.values[given.count + i], name)) return {};
  }
  return arguments;
}

UNIRUN_APART PyObject* to_object(const Result<Value>& answer) {
  if (!answer.ok()) return raise_error(answer.error()), nullptr;
  Result<Reference> object = to_python(*answer, exchange_options());
  if (!object.ok()) return raise_error(object.error()), nullptr;
  return object->release();
}

// ---- A call elsewhere ----

// Who calls: Python code here, with its context variables, or in another process.
struct Caller {
  Ref variables{};
  std::shared_ptr<const CallingProcess> process{};

  [[nodiscard]] static Caller of_python() { return {.variables = CallerVariables::of_python()}; }
};

// A call that is on its way to a loop, or that somebody awaits.
class NativeCall final : public Outcome<Value> {
 public:
  NativeCall(std::shared_ptr<NativeFunction> function, CppArguments arguments, Caller caller)
      : function_(std::move(function)),
        arguments_(std::move(arguments)),
        caller_(std::move(caller)) {}

  void run() noexcept override {
    const Caller caller = std::exchange(caller_, {});
    const CallerVariables variables(caller.variables);
    const CallingProcess::Scope scope(caller.process);
    const std::shared_ptr<NativeFunction> function = std::move(function_);
    try {
      const NativeFrame frame(*function);
      if (!frame.has_entered()) return end(unknown_function(function->name()));
      Answer answer =
          function->call_later(std::move(arguments_.args), std::move(arguments_.kwargs));
      if (auto* const now = std::get_if<Result<Value>>(&answer)) return end(std::move(*now));
      const auto later = std::get<Shared<Outcome<Value>>>(answer);
      add_owner();
      later->follow(
          std::make_unique<detail::IntoValue<Value>>(later, Shared<Outcome<Value>>(this)));
    } catch (...) {
      thrown_ = std::current_exception();
      end(error_as_raised());
    }
  }

  void end(Result<Value> answer) noexcept {
    if (claim(answer.ok() ? Ending::executed : Ending::failed)) settle(std::move(answer));
  }

  // A new reference, or null with the exception set. REQUIRES: it is settled.
  PyObject* take() {
    if (!thrown_) return to_object(take_outcome());
    try {
      std::rethrow_exception(thrown_);
    } catch (...) {
      raise_cpp_exception();
    }
    return nullptr;
  }

 private:
  std::shared_ptr<NativeFunction> function_;
  CppArguments arguments_;
  Caller caller_;
  std::exception_ptr thrown_;
};

// A call that waits in a loop's queue. A loop that ends drops it.
class Posted {
 public:
  explicit Posted(Shared<NativeCall> call) : call_(std::move(call)) {}
  ~Posted() {
    if (call_) {
      call_->end(Error{.code = Errc::loop_stopped,
                       .message = "the loop on which the function was to run has ended"});
    }
  }
  Posted(const Posted&) = delete;
  Posted& operator=(const Posted&) = delete;

  void run() {
    const Shared<NativeCall> call = std::move(call_);
    if (call->start()) call->run();
  }

 private:
  Shared<NativeCall> call_;
};

bool runs_here(const FunctionOptions& options) {
  return options.thread == On::caller || options.loop == EventLoop::current();
}

// Has it called where it belongs: here and now, or soon.
Shared<NativeCall> begin(const std::shared_ptr<NativeFunction>& function, CppArguments arguments,
                         Caller caller) {
  Shared<NativeCall> call(new NativeCall(function, std::move(arguments), std::move(caller)));
  if (runs_here(function->options())) {
    const CallDepth deeper(CallDepth::current() + 1);
    std::optional<GILRelease> released;
    std::optional<GILGuard> held;
    if (function->options().release_gil) {
      released.emplace();
    } else {
      held.emplace();
    }
    if (call->start()) call->run();
  } else {
    function->options().loop->post([posted = std::make_shared<Posted>(call)] { posted->run(); });
  }
  return call;
}

// ---- Waiting for it ----

UNIRUN_APART Answer refuse(const NativeFunction& function) {
  return Result<Value>(unknown_function(function.name()));
}

// Calls it on this thread. One that never comes, of nobody: an exception is set.
Answer call_here(NativeFunction& function, CppArguments& arguments) {
  try {
    const NativeFrame frame(function);
    if (!frame.has_entered()) return refuse(function);
    const CallDepth deeper(CallDepth::current() + 1);
    std::optional<CallerVariables> variables;
    std::optional<GILRelease> released;
    if (function.options().release_gil) {
      variables.emplace(CallerVariables::of_python());
      released.emplace();
    }
    return function.call(std::move(arguments.args), std::move(arguments.kwargs));
  } catch (...) {
    raise_cpp_exception();
    return Shared<Outcome<Value>>();
  }
}

// What calls it as if it were done at once has to await it. Sets an exception.
PyObject* would_hold_up(const NativeFunction& function) {
  return PyErr_Format(PyExc_RuntimeError,
                      "%s() would hold up the loop of the coroutine that calls it: say "
                      "await unirun.async_call(\"%s\", ...)",
                      function.name().c_str(), function.name().c_str()),
         nullptr;
}

UNIRUN_APART PyObject* wait_for_loop(const std::shared_ptr<NativeFunction>& function,
                                     CppArguments& arguments) {
  if (CoroutineLoop::current() != nullptr) return would_hold_up(*function);
  const Shared<NativeCall> call = begin(function, std::move(arguments), Caller::of_python());
  const WaitLabel label("C++ function", "", function->name());
  static_cast<void>(wait_until_settled(*call, Instant::max()));
  return call->take();
}

UNIRUN_APART PyObject* wait_for_answer(const NativeFunction& function, const Answer& answer) {
  if (const auto* const now = std::get_if<Result<Value>>(&answer)) return to_object(*now);
  const auto& later = std::get<Shared<Outcome<Value>>>(answer);
  if (!later) return nullptr;
  if (!wait_until_settled(*later, Instant::max())) return would_hold_up(function);
  return to_object(later->take_outcome());
}

PyObject* wait_for(const std::shared_ptr<NativeFunction>& function, CppArguments& arguments) {
  if (!runs_here(function->options())) return wait_for_loop(function, arguments);
  return wait_for_answer(*function, call_here(*function, arguments));
}

// ---- Awaiting it ----

// asyncio's loop on this thread; null: an exception is set.
Reference running_loop() {
  const Reference asyncio = Reference::steal(PyImport_ImportModule("asyncio"));
  if (!asyncio) return {};
  return Reference::steal(PyObject_CallMethod(asyncio.get(), "get_running_loop", nullptr));
}

// On the asyncio loop.
void settle_future(PyObject* future, PyObject* value, PyObject* exception) {
  const Reference done = Reference::steal(PyObject_CallMethod(future, "done", nullptr));
  // Cancelled: nobody waits any more.
  if (!done || PyObject_IsTrue(done.get()) != 0) return PyErr_Clear();
  const char* const way = exception != nullptr ? "set_exception" : "set_result";
  PyObject* const with = exception != nullptr ? exception : value;
  if (!Reference::steal(PyObject_CallMethod(future, way, "O", with))) PyErr_WriteUnraisable(future);
}

// What a call gave, or raised, as two objects of which one is nothing.
std::pair<Reference, Reference> value_and_exception(NativeCall& call) {
  Reference value = Reference::steal(call.take());
  if (value) return {std::move(value), Reference()};
  return {Reference(), take_exception()};
}

void settle_future(PyObject* future, NativeCall& call) {
  const auto [value, exception] = value_and_exception(call);
  settle_future(future, value.get(), exception.get());
}

// Brings an outcome to the asyncio loop whose future waits for it.
class Delivery final : public Continuation {
 public:
  Delivery(Shared<NativeCall> call, std::weak_ptr<AsyncioMailbox> mailbox, Ref future)
      : call_(std::move(call)), mailbox_(std::move(mailbox)), future_(std::move(future)) {}

  std::unique_ptr<Continuation> run() noexcept override {
    // Where the loop has ended nobody waits any more.
    if (const auto mailbox = mailbox_.lock(); mailbox != nullptr) {
      mailbox->post([call = std::move(call_), future = std::move(future_)] {
        settle_future(future.get(), *call);
      });
    }
    return nullptr;
  }

 private:
  Shared<NativeCall> call_;
  const std::weak_ptr<AsyncioMailbox> mailbox_;
  Ref future_;
};

}  // namespace

PyObject* call_native(const std::shared_ptr<NativeFunction>& function,
                      const PythonArguments& given) {
  if (function->options().async && Asyncio::runs_here()) return would_hold_up(*function);
  std::optional<CppArguments> arguments = to_arguments(given, function->name());
  if (!arguments || Py_EnterRecursiveCall(" in a C++ function") != 0) return nullptr;
  PyObject* const object = wait_for(function, *arguments);
  Py_LeaveRecursiveCall();
  return object;
}

PyObject* async_call_native(const std::shared_ptr<NativeFunction>& function,
                            const PythonArguments& given) {
  const Reference loop = running_loop();
  if (!loop) return nullptr;
  Reference future = Reference::steal(PyObject_CallMethod(loop.get(), "create_future", nullptr));
  std::optional<CppArguments> arguments;
  if (future) arguments = to_arguments(given, function->name());
  if (!arguments) return nullptr;
  const auto mailbox = AsyncioMailbox::of_running_loop(loop.get());
  if (mailbox == nullptr) return nullptr;
  const Shared<NativeCall> call = begin(function, *std::move(arguments), Caller::of_python());
  if (call->is_settled()) {
    settle_future(future.get(), *call);
  } else {
    call->follow(std::make_unique<Delivery>(call, mailbox, Ref::borrow(future.get())));
  }
  return future.release();
}

Shared<Outcome<Value>> start_native(const std::shared_ptr<NativeFunction>& function, Args args,
                                    Kwargs kwargs, std::shared_ptr<const CallingProcess> process) {
  auto call = begin(function, {std::move(args).values(), std::move(kwargs)},
                    {.process = std::move(process)});
  return Shared<Outcome<Value>>(call.release());
}

}  // namespace unirun::python
