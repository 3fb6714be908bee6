#include "executors/python/calls/parallel.h"

#include "executors/python/python.h"
// Python.h first.

#include <algorithm>
#include <utility>

#include "executors/python/calls/interpreter_calls.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/processes/process_pool.h"
#include "framework/clock.h"

namespace unirun::python {

void Parallel::open(Options options) {
  const std::lock_guard lock(mutex_);
  options_ = std::move(options);
  is_open_ = true;
}

bool Parallel::is_idle() {
  const std::lock_guard lock(mutex_);
  return entering_ == 0 && runs_.empty();
}

void Parallel::close(Instant deadline) {
  {
    const std::lock_guard lock(mutex_);
    is_open_ = false;
  }
  const Duration rest =
      deadline == Instant::max() ? Duration::max() : deadline - SystemClock().now();
  static_cast<void>(ended_.wait(rest, [this] { return is_idle(); }));
  std::vector<Shared<ParallelRun>> left;
  {
    const std::lock_guard lock(mutex_);
    left = runs_;
  }
  for (const auto& run : left) {
    if (run->claim(Ending::cancelled))
      run->fail({.code = Errc::cancelled, .message = "the executor was shut down before it ended"});
  }
  static_cast<void>(ended_.wait(Duration::max(), [this] { return is_idle(); }));
  std::unique_ptr<FallbackCalls> with_fallback;  // The last to go.
  std::unique_ptr<CallRunner> processes;
  std::unique_ptr<CallRunner> interpreters;
  {
    const std::lock_guard lock(mutex_);
    with_fallback = std::move(with_fallback_);
    processes = std::move(processes_);
    interpreters = std::move(interpreters_);
  }
}

void Parallel::forget() {
  new (&mutex_) std::mutex;  // Whoever held it is not here.
  is_open_ = false;
  entering_ = 0;
  static_cast<void>(processes_.release());
  static_cast<void>(interpreters_.release());
  static_cast<void>(with_fallback_.release());
  for (auto& run : runs_) static_cast<void>(run.release());
  runs_.clear();
}

Result<CallRunner*> Parallel::enter(ExecutionMode mode) {
  const std::lock_guard lock(mutex_);
  if (!is_open_) return Interpreter::no_executor();
  auto runner = find_runner(mode);
  if (runner.ok()) ++entering_;
  return runner;
}

// What it takes begins here: threads, which take the GIL by themselves.
Result<CallRunner*> Parallel::find_runner(ExecutionMode mode) {
  if (mode == ExecutionMode::process) return find_processes();
  if (mode == ExecutionMode::subinterp) return find_interpreters();
  return &threads_;
}

Result<CallRunner*> Parallel::find_processes() {
  if (processes_) return processes_.get();
  auto command = worker_command(options_.worker_program, options_.host_command);
  if (!command) return command.error();
  auto pool = ProcessPool::start({.command = *std::move(command),
                                  .configuration = options_.configuration,
                                  .size = options_.width});
  if (!pool) return pool.error();
  processes_ = *std::move(pool);
  return processes_.get();
}

Result<CallRunner*> Parallel::find_interpreters() {
  if (with_fallback_) return with_fallback_.get();
  auto calls = InterpreterCalls::start({.size = static_cast<std::uint32_t>(options_.width),
                                        .stack_bytes = options_.stack_bytes,
                                        .interpreter = options_.interpreter});
  if (!calls) return calls.error();
  interpreters_ = *std::move(calls);
  with_fallback_ = std::make_unique<FallbackCalls>(*interpreters_, [this]() -> Result<CallRunner*> {
    const std::lock_guard lock(mutex_);
    if (!is_open_ && !processes_) return Interpreter::no_executor();
    return find_processes();
  });
  return with_fallback_.get();
}

std::vector<Refusal> Parallel::refused_modules() {
  const std::lock_guard lock(mutex_);
  return with_fallback_ ? with_fallback_->refused_modules() : std::vector<Refusal>();
}

void Parallel::leave() {
  {
    const std::lock_guard lock(mutex_);
    --entering_;
  }
  ended_.ring();
}

future<std::vector<Result<Value>>> Parallel::refuse(const Error& error) {
  class Refused final : public Outcome<std::vector<Result<Value>>> {
    void run() noexcept override {}
  };
  const Shared<Refused> refused(new Refused);
  refused->add_owner();
  future<std::vector<Result<Value>>> outcome{
      Shared<Outcome<std::vector<Result<Value>>>>(refused.get())};
  if (refused->claim(Ending::failed)) refused->fail(error);
  return outcome;
}

future<std::vector<Result<Value>>> Parallel::run(std::span<const CallSpec> calls,
                                                 ExecutionMode mode,
                                                 std::optional<Duration> timeout) {
  const auto runner = enter(mode);
  if (!runner) return refuse(runner.error());
  const Shared<ParallelRun> run(new ParallelRun(**runner, {calls.begin(), calls.end()},
                                                options_.width,
                                                [this](ParallelRun& ended) { on_end(ended); }));
  run->add_owner();
  future<std::vector<Result<Value>>> outcome{
      Shared<Outcome<std::vector<Result<Value>>>>(run.get())};
  {
    const std::lock_guard lock(mutex_);
    runs_.push_back(run);
  }
  const auto expire = [run, at = timeout.value_or(Duration::max())] { run->expire(at); };
  if (timeout && *timeout <= Duration::zero()) {
    expire();  // None of them begins.
  } else {
    if (timeout) {
      const auto timer = deadlines_.start(deadline_after(*timeout), expire);
      if (timer.ok()) run->timer = *timer;
    }
    run->begin();
  }
  leave();
  return outcome;
}

void Parallel::on_end(ParallelRun& run) {
  deadlines_.cancel(run.timer);
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(runs_, [&run](const auto& one) { return one.get() == &run; });
  }
  ended_.ring();
}

}  // namespace unirun::python
