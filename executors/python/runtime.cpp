#include "executors/python/runtime.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <iterator>
#include <new>
#include <utility>

#include "executors/python/calls/call_depth.h"
#include "executors/python/config_check.h"
#include "executors/python/contexts/context_state.h"
#include "executors/python/interpreter/forks.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/interpreter/graveyard.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/interpreter/interruption.h"
#include "executors/python/processes/host_command.h"
#include "executors/python/tasks/own_thread.h"
#include "executors/python/tasks/task_calls.h"
#include "executors/python/tasks/waiting.h"
#include "executors/python/worker_surroundings.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

// So often the end looks for what runs.
constexpr Duration look_again_after = std::chrono::milliseconds(50);

// While all workers are busy one task in so many is timed, and stands for all of them.
constexpr std::uint64_t timed_of = 16;

// When a host ends, code that was interrupted has so long before it is given up.
constexpr Duration exit_grace = std::chrono::milliseconds(200);
// Longer where a worker has an interpreter: CPython may crash that ends beside one that goes on.
constexpr Duration exit_grace_of_interpreters = std::chrono::seconds(2);

// What coroutines and contexts leave behind, and what drops it, has so long beyond the grace.
constexpr Duration clearance = std::chrono::seconds(10);

Result<void> import_all(const std::vector<std::string>& modules) {
  const GILGuard guard;
  return Interpreter::import_all(modules);
}

void take_averages(Stats& stats) {
  const auto mean = [](const Histogram& times) {
    return static_cast<std::uint64_t>(times.mean().count());
  };
  stats.avg_execution_time_ns = mean(stats.execution);
  stats.avg_queue_wait_ns = mean(stats.queue_wait);
  stats.avg_gil_wait_ns = mean(stats.gil_wait);
}

}  // namespace

Runtime& Runtime::get() {
  static auto* const runtime = new Runtime;
  return *runtime;
}

Runtime::Runtime() {
  Forks::watch();
  ::pthread_atfork(nullptr, nullptr, forget_in_child);
}

// What other threads held there, or were, is left alone.
void Runtime::forget_in_child() {
  Gate::forget();
  TaskMemory::forget();
  Graveyard::forget();
  FunctionTable::get().forget();
  forget_waits();
  Runtime& runtime = get();
  runtime.phase_ = Phase::none;
  runtime.pool_.forget();
  runtime.loops_.forget();
  runtime.parallel_.forget();
  runtime.contexts_.forget();
  runtime.streams_.forget();
  new (&runtime.admission_) Admission;
  new (&runtime.deadlines_) Deadlines;
  runtime.deadlines_.stop();
  runtime.interruptions_.forget();
}

// ---- Beginning ----

Result<void> Runtime::start(const PythonExecutor::Config& config) {
  return start(config, Interpreter::start);
}

Result<void> Runtime::attach_to_host(const PythonExecutor::Config& config) {
  if (config.install_signal_handlers) {
    return Error{.code = Errc::unsupported,
                 .message =
                     "Config::install_signal_handlers: in a host's Python they are the "
                     "host's; leave it false"};
  }
  return start(config, [](const InterpreterOptions& options) {
    auto adopted = Interpreter::adopt(options, end_with_host);
    if (adopted.ok()) get().host_command_ = host_command();
    return adopted;
  });
}

// What waits is cancelled, what runs interrupted: a program that ends is not kept up.
void Runtime::end_with_host() noexcept {
  Runtime& runtime = get();
  const Duration grace = runtime.has_own_interpreters() ? exit_grace_of_interpreters : exit_grace;
  static_cast<void>(runtime.shutdown({.drain = Duration::zero(), .grace = grace}));
}

Result<void> Runtime::start(const PythonExecutor::Config& config, Begin begin) {
  if (auto sound = check_config(config); !sound.ok()) return sound;
  Phase none = Phase::none;
  if (!phase_.compare_exchange_strong(none, Phase::starting)) {
    return Error{.code = Errc::already_initialized,
                 .message = "the PythonExecutor runs already: shut it down first"};
  }
  config_ = config;
  CallDepth::set_limit(config.max_depth);
  raise_as_keyboard_interrupt(config.keyboard_interrupt);
  set_exchange_options(config.conversion);
  auto started = begin({.isolated = config.isolated,
                        .install_signal_handlers = config.install_signal_handlers,
                        .sys_path = config.sys_path,
                        .switch_interval = config.switch_interval,
                        .without_gil = config.mode == ExecutionMode::free_threaded});
  if (started.ok()) started = import_all(config.preload);
  if (started.ok()) started = mode_.make(config_, host_command_);
  if (started.ok()) started = start_workers();
  if (started.ok()) open_parallel();
  phase_ = started.ok() ? Phase::running : Phase::none;
  return started;
}

Result<void> Runtime::start_workers() {
  ids_before_ = last_id_.load();
  rejected_ = refused_ = cancelled_in_queue_ = timed_out_in_queue_ = 0;
  ids_before_ = last_id_.load();  // Once more: whose end was counted so far was submitted so far.
  admission_.set_limit(config_.queue_size);
  admission_.open();
  deadlines_.open();
  interruptions_.open();
  Graveyard::call(call_for_graves);
  loops_.open({.size = config_.num_loops, .stack_bytes = config_.stack_bytes});
  std::optional<OwnInterpreterOptions> own;
  if (has_own_interpreters()) own = interpreter_options(config_);
  auto started = pool_.start({.size = config_.num_workers,
                              .stack_bytes = config_.stack_bytes,
                              .pin = config_.pin,
                              .interpreter = std::move(own)});
  if (!started.ok() || !has_own_interpreters()) return started;
  const GILRelease released;  // Each takes it to begin.
  started = pool_.wait_until_begun();
  if (started.ok()) return started;
  pool_.crew().dismiss();
  static_cast<void>(pool_.join(Instant::max()));
  return started;
}

// What was dropped lies in each interpreter for itself.
void Runtime::call_for_graves() noexcept {
  Runtime& runtime = get();
  if (!runtime.has_own_interpreters()) return runtime.pool_.crew().call_one();
  runtime.pool_.crew().call_all();
  runtime.interruptions_.come_by();
}

// ---- What is parallel ----

// Worker processes and interpreters see what the main one sees now.
void Runtime::open_parallel() {
  const std::uint32_t cores = WorkerPool::cores();
  const std::uint32_t wanted = config_.num_subinterp_workers;
  const std::uint32_t width = wanted == 0 ? cores : std::min(wanted, cores);
  parallel_.open({.worker_program = config_.worker_program,
                  .host_command = host_command_,
                  .configuration = worker_configuration(config_, config_.preload),
                  .interpreter = interpreter_options(config_),
                  .stack_bytes = config_.stack_bytes,
                  .width = width});
}

ModeReport Runtime::execution_mode() {
  if (!is_running())
    return {.mode = ExecutionMode::automatic, .reason = Interpreter::no_executor().message};
  ModeReport report = mode_.report();
  for (Refusal& refusal : parallel_.refused_modules())
    report.refused_modules.push_back(std::move(refusal));
  return report;
}

future<std::vector<Result<Value>>> Runtime::parallel(std::span<const CallSpec> calls,
                                                     const ParallelOptions& options) {
  if (!is_running()) return parallel_.refuse(Interpreter::no_executor());
  ExecutionMode mode = options.mode;
  if (mode == ExecutionMode::automatic) {
    mode = mode_.report().mode;
    if (mode == ExecutionMode::multi_executor) mode = ExecutionMode::process;
  }
  if (auto allowed = mode_.allows(mode); !allowed.ok()) return parallel_.refuse(allowed.error());
  return parallel_.run(calls, mode, options.timeout);
}

// ---- Submission ----

void Runtime::reject(TaskState& task, Error error) {
  if (!task.claim(Ending::failed)) return;
  rejected_.fetch_add(1);
  if (phase_.load() == Phase::stopping) idle_.ring();
  task.fail(std::move(error));
}

// One that comes while there is no executor, or one that ends: submitted and rejected in one, so
// that nobody takes it for one that is queued.
void Runtime::refuse(TaskState& task) {
  if (!task.claim(Ending::failed)) return;
  refused_.fetch_add(1);
  task.fail(Interpreter::no_executor());
}

bool Runtime::drop_oldest() {
  Shared<TaskState> oldest = pool_.crew().take_oldest();
  if (!oldest) oldest = loops_.take_oldest();
  if (!oldest) return false;
  if (!oldest->claim_before_start(Ending::cancelled)) return true;  // It has left by itself.
  if (oldest->is_admitted) admission_.leave();
  deadlines_.cancel(oldest->timer);
  rejected_.fetch_add(1);
  oldest->fail({.code = Errc::queue_full,
                .message = fmt::format("dropped for a newer task: {} wait, which is the limit "
                                       "(Config::queue_size)",
                                       admission_.limit())});
  return true;
}

// On threads that others wait for.
std::optional<Error> Runtime::refuse_to_block() const {
  if (EventLoop::current() != nullptr || CoroutineLoop::current() != nullptr) {
    return Error{.code = Errc::unsupported,
                 .message =
                     "the queue is full, and Overflow::block would block this loop's "
                     "thread: submit from another, or use Overflow::reject"};
  }
  if (PythonWorker::current() == nullptr) return std::nullopt;
  return Error{.code = Errc::queue_full,
               .message = fmt::format("{} tasks wait, which is the limit (Config::queue_size), and "
                                      "a worker that waited for a place would wait for itself: "
                                      "submit from another thread, or use Overflow::reject",
                                      admission_.limit())};
}

// False: the task has been rejected, or its time is up.
bool Runtime::admit(TaskState& task, const SubmitOptions& options, Instant deadline) {
  if (admission_.try_enter()) return true;
  if (config_.overflow == Overflow::block) {
    if (auto refused = refuse_to_block()) {
      reject(task, *std::move(refused));
      return false;
    }
    const GILRelease released;
    if (admission_.enter(deadline)) return true;
    if (is_running() && SystemClock().now() >= deadline) {
      time_out(task, *options.timeout);
      return false;
    }
  }
  while (config_.overflow == Overflow::drop_oldest && drop_oldest()) {
    if (admission_.try_enter()) return true;
  }
  if (!is_running()) {
    reject(task, Interpreter::no_executor());
  } else {
    reject(task, {.code = Errc::queue_full,
                  .message = fmt::format("{} tasks wait, which is the limit "
                                         "(Config::queue_size): try again later",
                                         admission_.limit())});
  }
  return false;
}

// False: the task has been rejected.
bool Runtime::start_timer(const Shared<TaskState>& task, Duration timeout, Instant deadline) {
  if (deadline == Instant::max()) return true;
  auto timer = deadlines_.start(deadline, [this, task, timeout] { time_out(*task, timeout); });
  if (timer.ok()) {
    task->timer = *timer;
    return true;
  }
  admission_.leave();
  reject(*task, is_running() ? Error{.code = Errc::unsupported, .message = timer.error().message}
                             : Interpreter::no_executor());
  return false;
}

bool Runtime::push(Shared<TaskState>& task, ContextId id) {
  Error error;
  if (id != ContextId::none) {
    const auto context = contexts_.find(id);
    if (context != nullptr && context->push(task.get()))
      return static_cast<void>(task.release()), true;
    error = refusal(id);
  } else if (task->coroutine == nullptr || task->coroutine->begins_on_worker()) {
    if (pool_.crew().push(task.get())) return static_cast<void>(task.release()), true;
    error = Interpreter::no_executor();
  } else {
    const auto pushed = loops_.push(task.get());
    if (pushed.ok()) return static_cast<void>(task.release()), true;
    error = pushed.error();
  }
  if (task->is_admitted) admission_.leave();
  if (task->timer != TimerId::none) deadlines_.cancel(task->timer);
  reject(*task, std::move(error));
  return false;
}

std::string Runtime::name_of_context(ContextId id) {
  const auto context = contexts_.find(id);
  if (context != nullptr) return context->name();
  return fmt::format("{}", static_cast<std::uint64_t>(id));
}

// Of what a context does not take.
Error Runtime::refusal(ContextId id) {
  if (!is_running()) return Interpreter::no_executor();
  const auto context = contexts_.find(id);
  if (context != nullptr && context->is_lost()) return context->loss();
  return {.code = Errc::unsupported,
          .message = fmt::format("context {} is closed, or its executor was shut down: bind() "
                                 "gives another",
                                 name_of_context(id))};
}

// Counts it as submitted, before anything of it is counted as ended.
TaskId Runtime::next_id(std::uint64_t count) {
  return TaskId{last_id_.fetch_add(count, std::memory_order_relaxed) + 1};
}

void Runtime::take_time(TaskState& task) {
  if (pool_.crew().has_sleepers()) {
    task.stands_for = 1;
  } else if (static_cast<std::uint64_t>(task.id) % timed_of == 0) {
    task.stands_for = timed_of;
  } else {
    return;
  }
  task.submitted_at = SystemClock().now();
}

void Runtime::submit(Shared<TaskState> task, const SubmitOptions& options) {
  if (!is_running()) return refuse(*task);
  task->id = next_id();
  task->priority = std::min<std::uint8_t>(options.priority, priorities - 1);
  task->enter_queue_unseen();
  if (options.timeout && *options.timeout <= Duration::zero())
    return time_out(*task, *options.timeout);
  const Instant deadline = options.timeout ? deadline_after(*options.timeout) : Instant::max();
  if (!admit(*task, options, deadline)) return;
  task->is_admitted = true;
  take_time(*task);
  if (options.timeout && !start_timer(task, *options.timeout, deadline)) return;
  static_cast<void>(push(task, options.context));
}

void Runtime::submit_batch(std::span<Shared<TaskState>> tasks, const SubmitOptions& options) {
  const bool is_plain = !options.timeout && options.context == ContextId::none;
  if (tasks.empty()) return;
  if (!is_plain || !is_running() ||
      !admission_.try_enter(static_cast<std::uint32_t>(tasks.size()))) {
    for (Shared<TaskState>& task : tasks) submit(std::move(task), options);
    return;
  }
  auto id = static_cast<std::uint64_t>(next_id(tasks.size()));
  const Instant now = SystemClock().now();
  TaskState* older = nullptr;
  for (std::size_t at = 0; at < tasks.size(); ++at) {
    TaskState& task = *tasks[at];
    task.id = TaskId{id++};
    task.priority = std::min<std::uint8_t>(options.priority, priorities - 1);
    task.enter_queue_unseen();
    task.is_admitted = true;
    if (at % timed_of == 0) {
      task.stands_for =
          static_cast<std::uint8_t>(std::min<std::size_t>(timed_of, tasks.size() - at));
      task.submitted_at = now;
    }
    task.next = std::exchange(older, &task);
  }
  if (pool_.crew().push_all(*tasks.back(), *tasks.front())) {
    for (Shared<TaskState>& task : tasks) static_cast<void>(task.release());
    return;
  }
  for (Shared<TaskState>& task : tasks) {
    admission_.leave();
    reject(*task, Interpreter::no_executor());
  }
}

void Runtime::enqueue(Shared<TaskState> task, std::int64_t interpreter_id) {
  task->id = next_id();
  if (!task->enter_queue()) {  // It was cancelled before.
    cancelled_in_queue_.fetch_add(1);
    return;
  }
  take_time(*task);
  const auto worker = pool_.worker_in(interpreter_id);
  if (worker == nullptr) return static_cast<void>(push(task));
  if (worker->push(task.get())) return static_cast<void>(task.release());
  reject(*task, {.code = Errc::worker_lost,
                 .message = "the interpreter of its object has ended with its worker"});
}

void Runtime::pass_to_workers(Shared<TaskState> task) {
  if (pool_.crew().push(task.get())) return static_cast<void>(task.release());
  end_passed(*task);
}

void Runtime::pass_to_loops(Shared<TaskState> task) {
  const auto pushed = loops_.push(task.get());
  if (pushed.ok()) return static_cast<void>(task.release());
  if (!is_running()) return end_passed(*task);
  if (!task->claim_before_start(Ending::cancelled)) return;
  end_queued(*task, Ending::cancelled);
  task->fail(pushed.error());
}

// What nobody takes any more.
void Runtime::end_passed(TaskState& task) {
  if (!task.claim_before_start(Ending::cancelled)) return;
  end_queued(task, Ending::cancelled);
  task.fail({.code = Errc::cancelled, .message = "the executor was shut down before it began"});
}

// ---- Contexts ----

Result<std::shared_ptr<ContextState>> Runtime::add_context(BindOptions options) {
  auto worker = is_running() ? pool_.choose_for_context() : nullptr;
  if (worker == nullptr) return Interpreter::no_executor();
  return contexts_.add(std::move(options), std::move(worker));
}

// ---- Ends before the end ----

// Of one that was claimed before it began.
void Runtime::end_queued(TaskState& task, Ending ending) {
  if (task.is_admitted) admission_.leave();
  if (!task.was_queued()) return;
  (ending == Ending::timed_out ? timed_out_in_queue_ : cancelled_in_queue_).fetch_add(1);
  pool_.crew().note_ended();
  if (phase_.load() == Phase::stopping) idle_.ring();
}

void Runtime::time_out(TaskState& task, Duration timeout) {
  const auto error = [&](Progress progress) {
    const std::string name = task.name();
    const auto number = static_cast<std::uint64_t>(task.id);
    return timed_out(fmt::format("{}{}task {}", name, name.empty() ? "" : ", ", number), timeout,
                     timeout <= Duration::zero() ? Progress::refused : progress);
  };
  if (task.claim_before_start(Ending::timed_out)) {
    end_queued(task, Ending::timed_out);
    task.fail(error(task.is_admitted ? Progress::queued : Progress::at_door));
  } else if (task.claim(Ending::timed_out)) {
    task.fail(error(Progress::running));
    task.add_owner();
    end_running(Shared<TaskState>(&task));
  }
}

bool Runtime::cancel(TaskState& task) {
  return cancel(task,
                {.code = Errc::cancelled, .message = "cancelled by its future, or by its token"});
}

bool Runtime::cancel(TaskState& task, Error reason) {
  if (task.is_of_parent()) return false;
  if (task.claim_before_start(Ending::cancelled)) {
    deadlines_.cancel(task.timer);
    end_queued(task, Ending::cancelled);
    task.fail(std::move(reason));
    return true;
  }
  if (!task.claim(Ending::cancelled)) return false;
  task.fail(std::move(reason));
  task.add_owner();
  end_running(Shared<TaskState>(&task));
  return true;
}

void Runtime::ask_to_end(TaskState* asked) {
  if (asked->is_of_parent()) return;
  asked->add_owner();
  const Shared<TaskState> task(asked);
  if (task->claim_before_start(Ending::cancelled)) {
    deadlines_.cancel(task->timer);
    end_queued(*task, Ending::cancelled);
    task->fail({.code = Errc::cancelled, .message = "cancelled before it began"});
    return;
  }
  if (task->coroutine != nullptr && task->coroutine->loop() != nullptr)
    return task->coroutine->link().cancel(task);
  interruptions_.ask_once(task);
}

TimerId Runtime::call_later(Duration delay, std::function<void()> function) {
  if (!is_running()) return TimerId::none;
  const auto timer = deadlines_.start(deadline_after(delay), std::move(function));
  return timer.ok() ? *timer : TimerId::none;
}

// Its outcome stands, and its code has to follow.
void Runtime::end_running(Shared<TaskState> task) {
  if (task->coroutine == nullptr || task->coroutine->loop() == nullptr)
    return interruptions_.begin(std::move(task));
  endings_.begin(std::move(task));
}

bool Runtime::give_up(CoroutineLoop& loop, const TaskState& task) {
  if (task.bound_to != nullptr) return give_up(task);
  loops_.pass_over(static_cast<AsyncLoop&>(loop));
  return true;
}

// Its worker does not come back: what waits for it alone will not run, nor will what waits beneath
// the task go on.
bool Runtime::give_up(const TaskState& task) {
  if (!is_running()) return true;
  std::vector<Shared<TaskState>> beneath;
  {
    const GILGuard guard;
    if (guard.attached()) beneath = pool_.all_running_with(task);
  }
  const auto worker = pool_.give_up(task);
  if (worker == nullptr) return false;
  contexts_.lose(worker.get());
  for (const Shared<TaskState>& waiting : beneath) {
    if (!waiting->claim(Ending::failed)) continue;
    deadlines_.cancel(waiting->timer);
    waiting->fail({.code = Errc::worker_lost,
                   .message = "what it waited for runs code that does not end, and its worker was "
                              "given up with both"});
  }
  for (const Shared<TaskState>& waiting : worker->waiting()) {
    if (waiting->bound_to != nullptr) end_waiting(*waiting, refusal(waiting->bound_to->id()));
  }
  for (const Shared<TaskState>& begun : worker->coroutines()) {
    if (!begun->claim(Ending::failed)) continue;
    deadlines_.cancel(begun->timer);
    begun->fail(begun->bound_to->loss());
  }
  return true;
}

bool Runtime::interrupt(const ContextState& context) {
  const GILGuard guard;
  return guard.attached() && context.worker().interrupt(context);
}

bool Runtime::interrupt(TaskId id) {
  const GILGuard guard;
  return guard.attached() && pool_.interrupt(id);
}

// ---- What workers tell ----

void Runtime::on_taken(TaskState& task) noexcept {
  if (task.is_admitted) admission_.leave();
}

void Runtime::ask_again(TaskState& task) noexcept {
  task.add_owner();
  interruptions_.ask_again(Shared<TaskState>(&task));
}

void Runtime::on_ended(TaskState& task) noexcept {
  if (task.timer != TimerId::none) deadlines_.cancel(task.timer);
  if (phase_.load(std::memory_order_relaxed) == Phase::stopping) idle_.ring();
}

// ---- The end ----

bool Runtime::wait_until_idle(Instant deadline) {
  return idle_.wait(deadline == Instant::max() ? Duration::max() : deadline - SystemClock().now(),
                    [this] {
                      // What was given up is waited for no more. It is read last: it only ends.
                      const Stats stats = statistics();
                      return stats.tasks_queued + stats.running <= pool_.running_given_up();
                    });
}

void Runtime::end_what_waits() {
  const Error error{.code = Errc::cancelled,
                    .message = "the executor was shut down before it began"};
  const auto next = [this] {
    Shared<TaskState> task = pool_.crew().take_left();
    return task ? std::move(task) : loops_.take_left();
  };
  while (const Shared<TaskState> task = next()) end_waiting(*task, error);
  for (const Shared<TaskState>& task : pool_.bound_tasks()) {
    if (task->was_queued()) end_waiting(*task, error);
  }
}

void Runtime::end_waiting(TaskState& task, Error error) {
  if (!task.claim_before_start(Ending::cancelled)) return;
  deadlines_.cancel(task.timer);
  end_queued(task, Ending::cancelled);
  task.fail(std::move(error));
}

// Asks what runs to end, or waits for it. Gives until when the workers have to end themselves.
Instant Runtime::end_what_runs(const PythonExecutor::ShutdownOptions& options) {
  if (!options.interrupt) {
    static_cast<void>(wait_until_idle(Instant::max()));
    return Instant::max();
  }
  const SystemClock clock;
  const Instant last = deadline_after(options.grace);
  loops_.cancel_all();
  pool_.cancel_coroutines();
  do {
    interrupt_what_runs(false);
    if (wait_until_idle(std::min(last, clock.now() + look_again_after))) return last;
  } while (clock.now() < last);
  // It has had the grace for its `finally`, or has swallowed what it was told.
  interrupt_what_runs(true);
  static_cast<void>(wait_until_idle(clock.now() + look_again_after));
  return last;
}

void Runtime::interrupt_what_runs(bool again) {
  const GILGuard guard;
  if (!guard.attached()) return;
  pool_.interrupt_all(again);
  loops_.interrupt_running(again);
}

// Whoever runs it was given up.
void Runtime::settle_what_goes_on() {
  const GILGuard guard;
  if (!guard.attached()) return;
  std::vector<Shared<TaskState>> tasks = pool_.all_running();
  std::ranges::move(loops_.tasks(), std::back_inserter(tasks));
  std::ranges::move(pool_.coroutines(), std::back_inserter(tasks));
  for (const Shared<TaskState>& task : tasks) {
    if (!task->claim(Ending::failed)) continue;
    task->fail({.code = Errc::stuck,
                .message = "it went on after it was interrupted, and the executor was shut down"});
  }
}

Result<void> Runtime::shutdown(const PythonExecutor::ShutdownOptions& options) {
  if (PythonWorker::current() != nullptr || CoroutineLoop::current() != nullptr ||
      OwnThread::is_here()) {
    return Error{.code = Errc::unsupported,
                 .message =
                     "shutdown() on a worker, or another thread of the executor's, would wait "
                     "for itself: call it elsewhere"};
  }
  Phase running = Phase::running;
  if (!phase_.compare_exchange_strong(running, Phase::stopping)) return Interpreter::no_executor();
  const GILRelease released;
  admission_.close();
  const Instant drain_until = deadline_after(options.drain);
  parallel_.close(drain_until);
  const bool drained = wait_until_idle(drain_until);
  // What follows what was accepted has run, too. From now on nobody takes anything.
  pool_.crew().dismiss();
  loops_.refuse();
  end_what_waits();
  Instant last = Instant::max();
  if (!drained) {
    last = end_what_runs(options);
  } else if (options.interrupt) {
    last = deadline_after(options.grace);
    if (last < Instant::max() - clearance) last += clearance;
  }
  // Generators that wait for a reader, not those that were interrupted just now.
  streams_.end_all({.code = Errc::cancelled,
                    .message = "the executor was shut down before the stream had ended"});
  const std::size_t left = pool_.join(last) + loops_.join(deadline_after(options.grace));
  contexts_.lose(nullptr);
  if (left > 0) {
    end_what_waits();
    settle_what_goes_on();
  }
  deadlines_.stop();
  interruptions_.stop();
  Graveyard::call(nullptr);
  phase_ = Phase::none;
  if (left == 0) return {};
  return Error{
      .code = Errc::stuck,
      .message = fmt::format("{} workers run code that does not end when it is asked to; they "
                             "were given up, and end when it does",
                             left)};
}

// ---- Statistics ----

NumaReport Runtime::numa_report() {
  if (!is_running())
    return {.nodes = {}, .is_applied = false, .reason = Interpreter::no_executor().message};
  return pool_.numa_report();
}

Stats Runtime::statistics() {
  Stats stats = pool_.statistics();
  loops_.add_to(stats);
  if (!is_running()) stats.workers = 0;
  take_averages(stats);
  stats.cancelled += cancelled_in_queue_.load();
  stats.timed_out += timed_out_in_queue_.load();
  const std::uint64_t refused = refused_.load();
  stats.rejected = rejected_.load() + refused;
  const std::uint64_t taken = stats.rejected + stats.tasks_executed + stats.tasks_failed +
                              stats.cancelled + stats.timed_out + stats.running;
  // Of what a thread began to submit before this executor began, only the end may count here.
  stats.submitted = std::max(last_id_.load() - ids_before_ + refused, taken);
  stats.tasks_queued = stats.submitted - taken;
  return stats;
}

}  // namespace unirun::python
