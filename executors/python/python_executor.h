// PythonExecutor runs Python off the caller's threads: submit() takes no GIL and does not block; a
// worker runs the task with the GIL held; its outcome comes as a future.
//
//   PythonExecutor::initialize({.num_workers = 2});
//   auto answer = PythonExecutor::submit([] { return PyLong_FromLong(42); });
//
// Thread: any, unless said otherwise. One a process, as there is one CPython.

#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executors/python/async/gather_options.h"
#include "executors/python/async/stream.h"
#include "executors/python/callbacks/function_table.h"
#include "executors/python/calls/call_spec.h"
#include "executors/python/contexts/bind_options.h"
#include "executors/python/contexts/context.h"
#include "executors/python/future.h"
#include "executors/python/interpreter/execution_mode.h"
#include "executors/python/state/limiter.h"
#include "executors/python/tasks/placement.h"
#include "executors/python/tasks/statistics.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/typed_value.h"

namespace unirun::python {

// What submit() does where `queue_size` tasks wait.
enum class Overflow : std::uint8_t {
  reject,       // It fails, with queue_full.
  block,        // Waits for a place, in the order of coming; on a loop's thread: `unsupported`.
  drop_oldest,  // The one that waited longest among the least urgent fails in its place.
};

struct SubmitOptions {
  std::optional<Duration> timeout{};    // From submission, the time in the queue included.
  ContextId context = ContextId::none;  // On whose worker; none: on any.
  std::uint8_t priority = 1;            // 0 is the most urgent, 3 the least; more is 3.
};

struct ParallelOptions {
  std::optional<Duration> timeout{};  // For all of them; what has ended by then is kept.
  // multi_executor: among the executor's own tasks. What cannot be had here is `unsupported`.
  ExecutionMode mode = ExecutionMode::automatic;
};

class PythonExecutor {
 public:
  struct Config {
    std::uint32_t num_workers = 0;  // 0: as many as this process may use cores.
    // Each worker has an interpreter and a GIL of its own. Where the rule of execution_mode() has
    // none: `unsupported`; where preloaded modules refuse: as if false, with the reason there.
    bool use_subinterpreters = false;
    std::uint32_t queue_size = 10000;  // So many tasks may wait; 0: any number.
    Overflow overflow = Overflow::reject;
    std::vector<std::string> sys_path{};              // Goes before Python's own.
    std::vector<std::string> preload{};               // Modules to import before the first task.
    std::size_t stack_bytes = std::size_t{8} << 20;   // Of each worker; 6 MiB at least.
    std::chrono::microseconds switch_interval{5000};  // From 1 to an hour.
    bool isolated = true;
    bool install_signal_handlers = false;
    std::vector<int> pin{};                         // CPUs: worker n stays on pin[n % size].
    ExecutionMode mode = ExecutionMode::automatic;  // What cannot be had is refused: `unsupported`.
    bool allow_unsafe_subinterpreters = false;      // Before 3.14: see execution_mode().
    std::string worker_program{};                   // Of worker processes; empty: looked for.
    std::uint32_t max_depth = 10000;                // Of Python that calls C++ that calls Python.
    // Threads for coroutines, each with a loop of asyncio's; begun when needed.
    std::uint32_t num_loops = 1;
    // For parallel(): at most so many interpreters, or worker processes; 0, and more than cores:
    // one for each core.
    std::uint32_t num_subinterp_workers = 0;
    // An interruption is a KeyboardInterrupt too, for code that handles Ctrl-C.
    bool keyboard_interrupt = false;
    // Of what calls, contexts, streams and C++ functions take and give. Converters are kept; worker
    // processes have Converters::standard() in their place.
    ConversionOptions conversion{};
  };

  struct ShutdownOptions {
    Duration drain = std::chrono::seconds(5);  // So long what is queued may still run.
    bool interrupt = true;                     // Then: interrupt what runs; else wait for it.
    Duration grace =
        std::chrono::seconds(5);  // So long interrupted code has, before it is given up.
  };

  using Stats = python::Stats;

  // Starts Python, if none runs, and the workers. 0, or an Errc: already_initialized (and what runs
  // is unharmed), import_failed of a preload, unsupported of what the Config cannot have, ... After
  // a failure nothing is left behind but Python.
  static int initialize(const Config& config);
  // The same, with words.
  [[nodiscard]] static Result<void> start(const Config& config);

  // The same inside a Python that somebody else has started, for its extension modules: with the
  // GIL, in the main interpreter. The host ends as it likes: before it finalizes, what waits is
  // cancelled, what runs is interrupted, and the workers end; whoever asks for the GIL later gets
  // none. A child that the host forks is not_initialized. `isolated` has no meaning here, and
  // install_signal_handlers is unsupported.
  static int attach_to_host(const Config& config);
  [[nodiscard]] static Result<void> attach(const Config& config);

  // Takes nothing more, drains, interrupts, joins; every future is settled then. Python lives on,
  // and initialize() works again. From a worker: unsupported. 0, or an Errc.
  static int shutdown();
  [[nodiscard]] static Result<void> shutdown(const ShutdownOptions& options);
  [[nodiscard]] static bool is_initialized();
  // Ends Python for good. Thread: that of initialize(), after shutdown().
  [[nodiscard]] static Result<void> finalize();

  // Runs `function` on a worker. What it returns, a Result or a plain value, comes in the future;
  // what it throws or leaves as Python's exception comes as the error, SystemExit and all.
  template <std::invocable Function>
  static auto submit(Function&& function, const SubmitOptions& options = {}) {
    Shared<TaskState> task;
    auto outcome = make_task(std::forward<Function>(function), task);
    submit_task(std::move(task), options);
    return outcome;
  }
  // Calls a Python callable, with a tuple and a dict; of nothing: without. Errors, besides those of
  // the call: not_callable; conversion, `args` is no tuple or `kwargs` no dict.
  static future<PyObject*> submit(Ref callable, Ref args = {}, Ref kwargs = {},
                                  const SubmitOptions& options = {});

  // 0: it has timed out already. A deadline beyond the end of time is none.
  template <std::invocable Function>
  static auto submit_timeout(Function&& function, std::uint64_t timeout_ns) {
    return submit(std::forward<Function>(function), {.timeout = duration_of(timeout_ns)});
  }

  // All of them, with one wake; where not all find a place, or with a timeout or a context, one by
  // one.
  template <std::invocable Function>
  static auto submit_batch(std::span<Function> functions, const SubmitOptions& options = {}) {
    std::vector<future<detail::ValueOf<Function&>>> futures;
    futures.reserve(functions.size());
    std::vector<Shared<TaskState>> tasks(functions.size());
    for (Function& function : functions)
      futures.push_back(make_task(std::move(function), tasks[futures.size()]));
    submit_tasks(tasks, options);
    return futures;
  }

  // A context: names of its own, on one worker for life, the one where fewest live. Waits until it
  // is there. Errors: of its `preload`, with the traceback; unsupported on a loop's thread;
  // loop_running inside a coroutine; not_initialized.
  [[nodiscard]] static Result<Context> bind(BindOptions options = {});

  // Calls a Python function by name, on a worker, and waits for what it returns; on a worker others
  // are served meanwhile. What no Value can be comes as a Ref. Errors: unsupported, on a loop's
  // thread, which must not block; loop_running, inside a coroutine; import_failed, unknown_function
  // (the module has no such attribute), not_callable, python_exception, each with the traceback;
  // conversion; timeout; cancelled; and those of submit().
  [[nodiscard]] static Result<Value> call(std::string_view module, std::string_view function,
                                          Args args = {}, Kwargs kwargs = {},
                                          const CallOptions& options = {});
  // The same, as a type of C++: conversion, if what is returned is none.
  template <class T>
  [[nodiscard]] static Result<T> call_as(std::string_view module, std::string_view function,
                                         Args args = {}, Kwargs kwargs = {},
                                         const CallOptions& options = {}) {
    return value_as<T>(call(module, function, std::move(args), std::move(kwargs), options));
  }

  // Calls a Python function by name; nobody waits. A coroutine function runs as a task of asyncio's
  // on a loop, in the context of the Python code that calls, if any does; any other on a worker.
  // With CallOptions::context it is looked up there, and all of it runs on that context's thread;
  // close() cancels it.
  // Errors, in the future: as call().
  static future<Value> async_call(std::string_view module, std::string_view function,
                                  Args args = {}, Kwargs kwargs = {},
                                  const CallOptions& options = {});

  // Many of them: every outcome, in the order of the calls. At the deadline, and with `fail_fast`
  // at the first error, the rest is cancelled, and awaited for up to 5 s.
  static future<std::vector<Result<Value>>> gather(std::span<const CallSpec> calls,
                                                   const GatherOptions& options = {});

  // What a generator, or whatever can be iterated, gives, item by item, as a reader asks for it.
  static Stream stream(std::string_view module, std::string_view function, Args args = {},
                       Kwargs kwargs = {}, const StreamOptions& options = {});

  // Raises Interrupted in the task's Python code. False: it does not run (any more, or yet).
  static bool interrupt(TaskId task);

  // Lets Python code call a C++ function, in every interpreter: unirun.call("name", ...),
  // unirun.functions.name(...), await unirun.async_call("name", ...). Its arguments and what it
  // returns are what from_value() and make_value() know, a Result or a future of that; one of
  // (Args, Kwargs) takes all as it comes. Works without Python and before initialize(). Errors
  // stand in the Registration: unsupported.
  template <class F>
  [[nodiscard]] static Registration register_function(std::string name, F&& function,
                                                      const FunctionOptions& options = {}) {
    return register_native(std::move(name), std::forward<F>(function), options);
  }

  [[nodiscard]] static Stats get_stats();

  // What became of the memory of workers that stay on CPUs, on a machine with nodes; elsewhere a
  // no-op that says so.
  [[nodiscard]] static NumaReport numa_report();

  // The one of that name in this process, with these options from now on: so many go on at once, a
  // bounded number waits, in the order of asking. See limiter.h.
  [[nodiscard]] static Limiter limiter(std::string_view name, LimiterOptions options) {
    return python::limiter(name, options);
  }

  // Of the worker process that calls the function that runs on this thread; 0: none does. For
  // permits that come back with its end: limiter.acquire(timeout, calling_process()).
  [[nodiscard]] static OwnerId calling_process();

  // What is parallel here, and why; `automatic` while there is no executor.
  [[nodiscard]] static ModeReport execution_mode();

  // Each call's outcome, in their order; never more at once than there are cores. One that fails,
  // or takes its worker process along (worker_lost), spoils no other. Which of what is parallel
  // here runs them execution_mode() says; under multi_executor worker processes do.
  [[nodiscard]] static future<std::vector<Result<Value>>> parallel(
      std::span<const CallSpec> calls, const ParallelOptions& options = {});

 private:
  template <class Function>
  static auto make_task(Function&& function, Shared<TaskState>& task) {
    using Callee = std::decay_t<Function>;
    using T = detail::ValueOf<Callee&>;
    auto* const made = new FunctionTask<T, Callee>(std::forward<Function>(function));
    future<T> outcome{Shared<Outcome<T>>(made)};
    made->add_owner();
    task = Shared<TaskState>(made);
    return outcome;
  }
  static void submit_tasks(std::span<Shared<TaskState>> tasks, const SubmitOptions& options);
  static void submit_task(Shared<TaskState> task, const SubmitOptions& options);
  [[nodiscard]] static Duration duration_of(std::uint64_t nanoseconds);
};

}  // namespace unirun::python
