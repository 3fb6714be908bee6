#include "executors/python/python_executor.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "executors/python/async/async_call.h"
#include "executors/python/async/gather.h"
#include "executors/python/async/stream_source.h"
#include "executors/python/async/stream_state.h"
#include "executors/python/callbacks/calling_process.h"
#include "executors/python/calls/blocking_call.h"
#include "executors/python/calls/function_cache.h"
#include "executors/python/calls/invocation.h"
#include "executors/python/config_check.h"
#include "executors/python/contexts/context_state.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/runtime.h"
#include "executors/python/tasks/waiting.h"

namespace unirun::python {
namespace {

Error wrong_interpreter(const Ref& ref) {
  return {.code = Errc::wrong_interpreter,
          .message = fmt::format("submit: an object of interpreter {}, and the worker runs in "
                                 "another (Config::use_subinterpreters): name the function, by "
                                 "call() or async_call()",
                                 ref.interpreter_id())};
}

// What is not as it should be CPython would not look at before it crashes. With the GIL.
Result<void> check_parts(const Ref& callable, const Ref& args, const Ref& kwargs) {
  for (const Ref* const ref : {&callable, &args, &kwargs}) {
    if (*ref && ref->get() == nullptr) return wrong_interpreter(*ref);
  }
  const auto refused = [](Errc code, std::string_view what, const Ref& given,
                          std::string_view right) {
    const std::string_view type = given ? Py_TYPE(given.get())->tp_name : "Ref of nothing";
    return Error{.code = code, .message = fmt::format("submit: {} is a {}: {}", what, type, right)};
  };
  if (!callable || PyCallable_Check(callable.get()) == 0) {
    return refused(Errc::not_callable, "the callable", callable,
                   "it has to be a Ref to what Python can call");
  }
  if (args && PyTuple_Check(args.get()) == 0) {
    return refused(Errc::conversion, "args", args,
                   "it has to be a tuple of what is given by position, or a Ref of nothing");
  }
  if (kwargs && PyDict_Check(kwargs.get()) == 0) {
    return refused(Errc::conversion, "kwargs", kwargs,
                   "it has to be a dict of what is given by name, or a Ref of nothing");
  }
  return {};
}

int code_of(const Result<void>& result) {
  return result.ok() ? 0 : static_cast<int>(result.error().code);
}

}  // namespace

int PythonExecutor::initialize(const Config& config) { return code_of(start(config)); }

Result<void> PythonExecutor::start(const Config& config) { return Runtime::get().start(config); }

int PythonExecutor::attach_to_host(const Config& config) { return code_of(attach(config)); }

Result<void> PythonExecutor::attach(const Config& config) {
  return Runtime::get().attach_to_host(config);
}

int PythonExecutor::shutdown() { return code_of(shutdown(ShutdownOptions{})); }

Result<void> PythonExecutor::shutdown(const ShutdownOptions& options) {
  return Runtime::get().shutdown(options);
}

bool PythonExecutor::is_initialized() { return Runtime::get().is_running(); }

Result<void> PythonExecutor::finalize() {
  if (is_initialized()) {
    return Error{.code = Errc::unsupported,
                 .message = "the PythonExecutor runs: call shutdown() before finalize()"};
  }
  return Interpreter::finalize(std::chrono::seconds(5));
}

future<PyObject*> PythonExecutor::submit(Ref callable, Ref args, Ref kwargs,
                                         const SubmitOptions& options) {
  return submit(
      [callable = std::move(callable), args = std::move(args),
       kwargs = std::move(kwargs)]() -> Result<PyObject*> {
        if (const auto whole = check_parts(callable, args, kwargs); !whole.ok())
          return whole.error();
        if (!args && !kwargs) return or_hang([&] { return PyObject_CallNoArgs(callable.get()); });
        const Reference none = Reference::steal(args ? nullptr : PyTuple_New(0));
        PyObject* const arguments = args ? args.get() : none.get();
        PyObject* const keywords = kwargs ? kwargs.get() : nullptr;
        return or_hang([&] { return PyObject_Call(callable.get(), arguments, keywords); });
      },
      options);
}

Result<Value> PythonExecutor::call(std::string_view module, std::string_view function, Args args,
                                   Kwargs kwargs, const CallOptions& options) {
  if (const auto named = FunctionCache::check(module, function); !named.ok()) return named.error();
  return call_and_wait(
      {"call", module, function},
      [spec = CallSpec{std::string(module), std::string(function), std::move(args),
                       std::move(kwargs)}] { return invoke(spec); },
      options);
}

Result<Context> PythonExecutor::bind(BindOptions options) {
  if (const auto may = check_no_loop("bind"); !may.ok()) return may.error();
  if (const auto whole = check_no_nul("bind: the name", options.name); !whole.ok())
    return whole.error();
  if (utf8_length(options.name) != options.name.size()) {  // Tracebacks name it.
    return Error{
        .code = Errc::unsupported,
        .message = fmt::format("bind: the name: {} is not UTF-8", to_string(Value(options.name)))};
  }
  const ExecutionMode here = Runtime::get().has_own_interpreters() ? ExecutionMode::subinterp
                                                                   : ExecutionMode::multi_executor;
  if (options.mode != ExecutionMode::automatic && options.mode != here) {
    return Error{.code = Errc::unsupported,
                 .message = fmt::format("bind: a context runs on a worker of this executor, which "
                                        "is {}, not as {}",
                                        to_string(here), to_string(options.mode))};
  }
  auto state = Runtime::get().add_context(std::move(options));
  if (!state.ok()) return state.error();
  Context context(*state);
  auto opened = call_and_wait({"bind"}, [] { return ContextState::current()->open(); },
                              {.context = context.id()});
  if (!opened.ok()) return opened.error();
  return context;
}

future<Value> PythonExecutor::async_call(std::string_view module, std::string_view function,
                                         Args args, Kwargs kwargs, const CallOptions& options) {
  auto* const call = new AsyncCall(
      CallSpec{std::string(module), std::string(function), std::move(args), std::move(kwargs)},
      AsyncCall::context_of_caller());
  future<Value> outcome{Shared<Outcome<Value>>(call)};
  auto may = FunctionCache::check(module, function);
  if (may.ok() && options.token.is_cancellation_requested())
    may = Error{.code = Errc::cancelled, .message = "cancelled by its token before it was called"};
  if (!may.ok()) {
    if (call->claim(Ending::failed)) call->fail(may.error());
    return outcome;
  }
  call->add_owner();
  Runtime::get().submit(
      Shared<TaskState>(call),
      {.timeout = options.timeout, .context = options.context, .priority = options.priority});
  call->cancel_with(options.token);
  return outcome;
}

future<std::vector<Result<Value>>> PythonExecutor::gather(std::span<const CallSpec> calls,
                                                          const GatherOptions& options) {
  return Gather::start(calls, options);
}

Stream PythonExecutor::stream(std::string_view module, std::string_view function, Args args,
                              Kwargs kwargs, const StreamOptions& options) {
  auto state = std::make_shared<StreamState<Value>>(options);
  start_stream_source(
      state, {std::string(module), std::string(function), std::move(args), std::move(kwargs)});
  return Stream(std::move(state));
}

bool PythonExecutor::interrupt(TaskId task) { return Runtime::get().interrupt(task); }

Stats PythonExecutor::get_stats() {
  Stats stats = Runtime::get().statistics();
  stats.waiting = waiting_chains();
  return stats;
}

NumaReport PythonExecutor::numa_report() { return Runtime::get().numa_report(); }

OwnerId PythonExecutor::calling_process() { return CallingProcess::current_id(); }

ModeReport PythonExecutor::execution_mode() { return Runtime::get().execution_mode(); }

future<std::vector<Result<Value>>> PythonExecutor::parallel(std::span<const CallSpec> calls,
                                                            const ParallelOptions& options) {
  return Runtime::get().parallel(calls, options);
}

void PythonExecutor::submit_task(Shared<TaskState> task, const SubmitOptions& options) {
  Runtime::get().submit(std::move(task), options);
}

void PythonExecutor::submit_tasks(std::span<Shared<TaskState>> tasks,
                                  const SubmitOptions& options) {
  Runtime::get().submit_batch(tasks, options);
}

Duration PythonExecutor::duration_of(std::uint64_t nanoseconds) {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return Duration(static_cast<std::int64_t>(std::min(nanoseconds, most)));
}

}  // namespace unirun::python
