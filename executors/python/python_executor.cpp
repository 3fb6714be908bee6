#include "executors/python/python_executor.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <mutex>

#include "executors/python/admission.h"
#include "executors/python/crew.h"
#include "executors/python/deadlines.h"
#include "executors/python/exception_text.h"
#include "executors/python/gil_guard.h"
#include "executors/python/graveyard.h"
#include "executors/python/interpreter.h"
#include "executors/python/worker.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

// Code that goes on after an interruption is asked again so often, in such steps, before its worker
// is given up.
constexpr Duration ask_again_after = std::chrono::milliseconds(50);
constexpr int asks = 10;

// While more than this wait, one task in so many is timed.
constexpr std::uint32_t long_queue = 16;
constexpr std::uint64_t timed_of = 8;

enum class Phase : std::uint8_t { none, starting, running, stopping };

Error not_initialized() {
  return Error{.code = Errc::not_initialized,
               .message =
                   "the PythonExecutor is not running: call PythonExecutor::initialize() "
                   "first, or it has been shut down"};
}

// The executor of this process. Never destroyed: threads may ask for it after main() has ended.
class Runtime final : public WorkerObserver {
 public:
  static Runtime& get() {
    static auto* const runtime = new Runtime;
    return *runtime;
  }

  Result<void> start(const PythonExecutor::Config& config);
  Result<void> shutdown(const PythonExecutor::ShutdownOptions& options);
  [[nodiscard]] bool is_running() const { return phase_.load() == Phase::running; }

  void submit(Shared<TaskState> task, const SubmitOptions& options);
  void enqueue(Shared<TaskState> task);
  bool cancel(TaskState& task);
  bool interrupt(TaskId id);
  Stats statistics();

  void on_taken(TaskState& task) noexcept override;
  void on_ended(TaskState& task) noexcept override;

 private:
  using Workers = std::vector<std::unique_ptr<PythonWorker>>;

  Runtime();
  static void forget_in_child();
  static void call_for_graves() noexcept { get().crew_.call_one(); }

  Result<void> start_workers();
  void retire_workers();
  std::unique_ptr<PythonWorker> make_worker(std::uint32_t id);
  [[nodiscard]] bool admit(TaskState& task, const SubmitOptions& options);
  [[nodiscard]] bool drop_oldest();
  void reject(TaskState& task, Error error);
  void time_out(TaskState& task, Duration timeout);
  void end_queued(TaskState& task, Ending ending);
  void interrupt_until_it_ends(Shared<TaskState> task, int asked);
  PythonWorker* worker_of(const TaskState& task);
  void give_up(const TaskState& task);
  [[nodiscard]] bool wait_until_idle(Instant deadline);
  void end_what_waits();
  [[nodiscard]] std::vector<Shared<TaskState>> interrupt_what_runs();
  [[nodiscard]] std::size_t join_workers(Instant deadline);

  std::atomic<Phase> phase_{Phase::none};
  PythonExecutor::Config config_;
  Admission admission_;
  Crew crew_;
  Deadlines deadlines_;
  Deadlines interruptions_;  // May wait for the GIL, which no deadline should.
  std::mutex mutex_;         // Guards the next two. Nobody asks for the GIL within.
  Workers workers_;
  Workers given_up_;
  Doorbell idle_;

  std::atomic<std::uint64_t> last_id_{0};
  std::atomic<std::uint64_t> submitted_{0};
  std::atomic<std::uint64_t> rejected_{0};
  std::atomic<std::uint64_t> cancelled_in_queue_{0};
  std::atomic<std::uint64_t> timed_out_in_queue_{0};
};

Runtime::Runtime() {
  crew_.dismiss();
  ::pthread_atfork(nullptr, nullptr, forget_in_child);
}

// Its threads are the parent's. What they held is left alone.
void Runtime::forget_in_child() {
  Runtime& runtime = get();
  Gate::forget();
  runtime.phase_ = Phase::none;
  new (&runtime.mutex_) std::mutex;
  for (auto& worker : runtime.workers_) static_cast<void>(worker.release());
  runtime.workers_.clear();
  runtime.crew_.forget();
  runtime.crew_.dismiss();
}

// ---- Beginning ----

std::uint32_t cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
}

Result<void> import_all(const std::vector<std::string>& modules) {
  const GILGuard guard;
  for (const std::string& module : modules) {
    if (Reference::steal(PyImport_ImportModule(module.c_str()))) continue;
    Error error = error_of_exception();
    error.code = Errc::import_failed;
    error.message = fmt::format("preload: {}: {}", module, error.message);
    return error;
  }
  return {};
}

Result<void> Runtime::start(const PythonExecutor::Config& config) {
  if (config.use_subinterpreters) {
    return Error{.code = Errc::unsupported,
                 .message =
                     "Config::use_subinterpreters: workers run in the main interpreter only; "
                     "leave it false"};
  }
  Phase none = Phase::none;
  if (!phase_.compare_exchange_strong(none, Phase::starting)) {
    return Error{.code = Errc::already_initialized,
                 .message = "the PythonExecutor runs already: shut it down first"};
  }
  config_ = config;
  if (config_.num_workers == 0) config_.num_workers = cores();
  auto started = Interpreter::start({.isolated = config.isolated,
                                     .install_signal_handlers = config.install_signal_handlers,
                                     .sys_path = config.sys_path,
                                     .switch_interval = config.switch_interval});
  if (started.ok()) started = import_all(config.preload);
  if (started.ok()) started = start_workers();
  phase_ = started.ok() ? Phase::running : Phase::none;
  return started;
}

std::unique_ptr<PythonWorker> Runtime::make_worker(std::uint32_t id) {
  PythonWorker::Options options{.id = id, .stack_bytes = config_.stack_bytes, .cpu = {}};
  if (!config_.pin.empty()) options.cpu = config_.pin[id % config_.pin.size()];
  return std::make_unique<PythonWorker>(crew_, *this, options);
}

// Those of the executor before this one; who has not ended is kept for ever.
void Runtime::retire_workers() {
  const std::lock_guard lock(mutex_);
  for (Workers* const workers : {&workers_, &given_up_}) {
    for (auto& worker : *workers) {
      if (!worker->has_ended()) static_cast<void>(worker.release());
    }
    workers->clear();
  }
}

Result<void> Runtime::start_workers() {
  submitted_ = rejected_ = cancelled_in_queue_ = timed_out_in_queue_ = 0;
  retire_workers();
  admission_.set_limit(config_.queue_size);
  admission_.open();
  crew_.gather();
  Graveyard::call(call_for_graves);
  for (std::uint32_t id = 0; id < config_.num_workers; ++id) {
    auto worker = make_worker(id);
    if (const auto started = worker->start(); !started.ok()) {
      crew_.dismiss();
      static_cast<void>(join_workers(Instant::max()));
      return Error{.code = Errc::unsupported,
                   .message = fmt::format("worker {} of {}: {}", id + 1, config_.num_workers,
                                          started.error().message)};
    }
    const std::lock_guard lock(mutex_);
    workers_.push_back(std::move(worker));
  }
  return {};
}

// ---- Submission ----

void Runtime::reject(TaskState& task, Error error) {
  if (!task.claim(Ending::failed)) return;
  rejected_.fetch_add(1);
  task.fail(std::move(error));
}

bool Runtime::drop_oldest() {
  const Shared<TaskState> oldest = crew_.take_oldest();
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

// False: the task has been rejected.
bool Runtime::admit(TaskState& task, const SubmitOptions& options) {
  if (admission_.try_enter()) return true;
  if (config_.overflow == Overflow::block) {
    if (EventLoop::current() != nullptr) {
      reject(task, {.code = Errc::unsupported,
                    .message = "the queue is full, and Overflow::block would block this loop's "
                               "thread: submit from another, or use Overflow::reject"});
      return false;
    }
    const GILRelease released;
    if (admission_.enter(options.timeout ? deadline_after(*options.timeout) : Instant::max()))
      return true;
  }
  while (config_.overflow == Overflow::drop_oldest && drop_oldest()) {
    if (admission_.try_enter()) return true;
  }
  if (!is_running()) {
    reject(task, not_initialized());
  } else {
    reject(task, {.code = Errc::queue_full,
                  .message = fmt::format("{} tasks wait, which is the limit "
                                         "(Config::queue_size): try again later",
                                         admission_.limit())});
  }
  return false;
}

void Runtime::submit(Shared<TaskState> task, const SubmitOptions& options) {
  task->id = TaskId{last_id_.fetch_add(1, std::memory_order_relaxed) + 1};
  task->priority = std::min<std::uint8_t>(options.priority, priorities - 1);
  submitted_.fetch_add(1);
  static_cast<void>(task->enter_queue());  // Nobody else knows of it yet.
  if (options.timeout && *options.timeout <= Duration::zero())
    return time_out(*task, *options.timeout);
  if (!admit(*task, options)) return;
  task->is_admitted = true;
  if (admission_.size() < long_queue || static_cast<std::uint64_t>(task->id) % timed_of == 0)
    task->submitted_at = SystemClock().now();
  if (const Instant deadline = options.timeout ? deadline_after(*options.timeout) : Instant::max();
      deadline != Instant::max()) {
    auto timer = deadlines_.start(
        deadline, [this, task, timeout = *options.timeout] { time_out(*task, timeout); });
    if (!timer.ok()) {
      admission_.leave();
      return reject(*task, {.code = Errc::unsupported, .message = timer.error().message});
    }
    task->timer = *timer;
  }
  if (crew_.push(task.get())) {
    static_cast<void>(task.release());
    return;
  }
  admission_.leave();
  deadlines_.cancel(task->timer);
  reject(*task, not_initialized());
}

void Runtime::enqueue(Shared<TaskState> task) {
  task->id = TaskId{last_id_.fetch_add(1, std::memory_order_relaxed) + 1};
  if (!task->enter_queue()) return;
  submitted_.fetch_add(1);
  if (crew_.push(task.get())) {
    static_cast<void>(task.release());
  } else {
    reject(*task, not_initialized());
  }
}

// ---- Ends before the end ----

// Of one that was claimed before it began.
void Runtime::end_queued(TaskState& task, Ending ending) {
  if (task.is_admitted) admission_.leave();
  if (!task.was_queued()) return;
  (ending == Ending::timed_out ? timed_out_in_queue_ : cancelled_in_queue_).fetch_add(1);
  if (phase_.load() == Phase::stopping) idle_.ring();
}

void Runtime::time_out(TaskState& task, Duration timeout) {
  const auto milliseconds = std::chrono::duration<double, std::milli>(timeout).count();
  Error error{.code = Errc::timeout};
  if (task.claim_before_start(Ending::timed_out)) {
    error.message = fmt::format("not begun within {} ms of its submission", milliseconds);
    end_queued(task, Ending::timed_out);
    task.fail(std::move(error));
  } else if (task.claim(Ending::timed_out)) {
    error.message = fmt::format("still running {} ms after its submission", milliseconds);
    task.fail(std::move(error));
    task.add_owner();
    interrupt_until_it_ends(Shared<TaskState>(&task), 0);
  }
}

bool Runtime::cancel(TaskState& task) {
  const Error error{.code = Errc::cancelled, .message = "cancelled by its future"};
  if (task.claim_before_start(Ending::cancelled)) {
    deadlines_.cancel(task.timer);
    end_queued(task, Ending::cancelled);
    task.fail(error);
    return true;
  }
  if (!task.claim(Ending::cancelled)) return false;
  task.fail(error);
  task.add_owner();
  interrupt_until_it_ends(Shared<TaskState>(&task), 0);
  return true;
}

PythonWorker* Runtime::worker_of(const TaskState& task) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      workers_, [&](const auto& worker) { return worker->running() == &task; });
  return found != workers_.end() ? found->get() : nullptr;
}

// Asks, and looks later whether it helped.
void Runtime::interrupt_until_it_ends(Shared<TaskState> task, int asked) {
  const auto ask = [this, task, asked] {
    if (task->is_over()) return;
    if (asked == asks) return give_up(*task);
    bool is_asked = false;
    {
      const GILGuard guard;
      if (!guard.attached()) return;
      // None yet, or none while the task waits for another that runs on its stack.
      PythonWorker* const worker = worker_of(*task);
      is_asked = worker != nullptr && worker->interrupt(*task);
    }
    interrupt_until_it_ends(task, is_asked ? asked + 1 : std::max(asked, 1));
  };
  const Duration wait = asked == 0 ? Duration::zero() : ask_again_after;
  static_cast<void>(interruptions_.start(SystemClock().now() + wait, ask));
}

// Its worker does not come back: another takes its place.
void Runtime::give_up(const TaskState& task) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      workers_, [&](const auto& worker) { return worker->running() == &task; });
  if (found == workers_.end() || phase_.load() != Phase::running) return;
  auto successor = make_worker((*found)->id());
  if (!successor->start().ok()) return;
  (*found)->abandon();
  given_up_.push_back(std::exchange(*found, std::move(successor)));
}

bool Runtime::interrupt(TaskId id) {
  const GILGuard guard;
  if (!guard.attached()) return false;
  const std::lock_guard lock(mutex_);
  for (const auto& worker : workers_) {
    const TaskState* const task = worker->running();
    // With the GIL held what runs cannot end.
    if (task != nullptr && task->id == id) return worker->interrupt(*task);
  }
  return false;
}

// ---- What workers tell ----

void Runtime::on_taken(TaskState& task) noexcept {
  if (task.is_admitted) admission_.leave();
}

void Runtime::on_ended(TaskState& task) noexcept {
  if (task.timer != TimerId::none) deadlines_.cancel(task.timer);
  if (phase_.load(std::memory_order_relaxed) == Phase::stopping) idle_.ring();
}

// ---- The end ----

bool Runtime::wait_until_idle(Instant deadline) {
  return idle_.wait(deadline == Instant::max() ? Duration::max() : deadline - SystemClock().now(),
                    [this] {
                      const Stats stats = statistics();
                      return stats.tasks_queued + stats.running == 0;
                    });
}

void Runtime::end_what_waits() {
  while (const Shared<TaskState> task = crew_.take_left()) {
    if (!task->claim_before_start(Ending::cancelled)) continue;
    deadlines_.cancel(task->timer);
    end_queued(*task, Ending::cancelled);
    task->fail({.code = Errc::cancelled, .message = "the executor was shut down before it began"});
  }
}

// Gives what runs, too, so that it can be settled if it does not end.
std::vector<Shared<TaskState>> Runtime::interrupt_what_runs() {
  std::vector<Shared<TaskState>> tasks;
  const GILGuard guard;
  if (!guard.attached()) return tasks;
  const std::lock_guard lock(mutex_);
  for (const auto& worker : workers_) {
    if (Shared<TaskState> task = worker->interrupt_running()) tasks.push_back(std::move(task));
  }
  return tasks;
}

// So many have not ended. Those that have stay for the statistics, until the next start.
std::size_t Runtime::join_workers(Instant deadline) {
  std::size_t left = 0;
  for (const auto& worker : workers_) worker->dismiss();
  for (auto& worker : workers_) {
    if (worker->join(deadline)) continue;
    worker->abandon();
    ++left;
  }
  return left;
}

Result<void> Runtime::shutdown(const PythonExecutor::ShutdownOptions& options) {
  if (PythonWorker::current() != nullptr) {
    return Error{.code = Errc::unsupported,
                 .message = "shutdown() on a worker would wait for itself: call it elsewhere"};
  }
  Phase running = Phase::running;
  if (!phase_.compare_exchange_strong(running, Phase::stopping)) return not_initialized();
  const GILRelease released;
  crew_.dismiss();
  admission_.close();
  const bool drained = wait_until_idle(deadline_after(options.drain));
  end_what_waits();
  Instant last = Instant::max();
  if (!drained && options.interrupt) last = deadline_after(options.grace);
  std::vector<Shared<TaskState>> left_running;
  if (!drained && options.interrupt) left_running = interrupt_what_runs();
  while (!drained && !wait_until_idle(std::min(last, SystemClock().now() + ask_again_after)) &&
         SystemClock().now() < last) {
    if (options.interrupt) left_running = interrupt_what_runs();
  }
  const std::size_t left = join_workers(last);
  for (const Shared<TaskState>& task : left_running) {
    if (!task->claim(Ending::failed)) continue;
    task->fail({.code = Errc::stuck,
                .message = "it went on after it was interrupted, and the executor was shut down"});
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

// What ends is read before what begins, so that nothing has ended that has not begun: the snapshot
// adds up, whatever happens while it is taken.
Stats Runtime::statistics() {
  Stats stats;
  std::uint64_t started = 0;
  std::uint64_t timed = 0;
  std::uint64_t ran_ns = 0;
  std::uint64_t waited_ns = 0;
  std::uint64_t attached = 0;
  std::uint64_t gil_wait_ns = 0;
  const auto add = [&](const PythonWorker& worker) {
    const WorkerCounts& counts = worker.counts();
    WorkerStats one{.id = worker.id(),
                    .executed = counts.executed.get(),
                    .failed = counts.failed.get(),
                    .is_busy = worker.running() != nullptr};
    stats.tasks_executed += one.executed;
    stats.tasks_failed += one.failed;
    stats.cancelled += counts.cancelled.get();
    stats.timed_out += counts.timed_out.get();
    timed += counts.timed.get();
    ran_ns += counts.ran_ns.get();
    waited_ns += counts.waited_ns.get();
    attached += counts.attached.get();
    gil_wait_ns += counts.gil_wait_ns.get();
    stats.interrupted += counts.interrupted.get();
    stats.per_worker.push_back(one);
  };
  {
    const std::lock_guard lock(mutex_);
    for (const auto& worker : given_up_) add(*worker);
    stats.per_worker.clear();
    for (const auto& worker : workers_) add(*worker);
    for (const auto& worker : given_up_) started += worker->counts().started.get();
    for (const auto& worker : workers_) started += worker->counts().started.get();
    stats.stuck = given_up_.size();
    stats.workers = is_running() ? workers_.size() : 0;
  }
  stats.running =
      started - stats.tasks_executed - stats.tasks_failed - stats.cancelled - stats.timed_out;
  stats.cancelled += cancelled_in_queue_.load();
  stats.timed_out += timed_out_in_queue_.load();
  stats.rejected = rejected_.load();
  stats.submitted = submitted_.load();
  stats.tasks_queued = stats.submitted - stats.rejected - stats.tasks_executed -
                       stats.tasks_failed - stats.cancelled - stats.timed_out - stats.running;
  if (timed > 0) {
    stats.avg_execution_time_ns = ran_ns / timed;
    stats.avg_queue_wait_ns = waited_ns / timed;
  }
  if (attached > 0) stats.avg_gil_wait_ns = gil_wait_ns / attached;
  return stats;
}

int code_of(const Result<void>& result) {
  return result.ok() ? 0 : static_cast<int>(result.error().code);
}

}  // namespace

// ---- What tasks ask ----

void enqueue(Shared<TaskState> task) noexcept { Runtime::get().enqueue(std::move(task)); }

bool cancel_task(TaskState& task) noexcept { return Runtime::get().cancel(task); }

bool wait_until_settled(TaskState& task, Instant deadline) {
  if (task.is_settled()) return true;
  if (PythonWorker* const worker = PythonWorker::current();
      worker != nullptr && PythonThread::attached_state() != nullptr)
    return worker->serve_until(task, deadline);
  const GILRelease released;
  return task.sleep_until(deadline);
}

Instant deadline_after(Duration timeout) {
  const Instant now = SystemClock().now();
  return timeout < Instant::max() - now ? now + timeout : Instant::max();
}

// ---- The executor ----

int PythonExecutor::initialize(const Config& config) { return code_of(start(config)); }

Result<void> PythonExecutor::start(const Config& config) { return Runtime::get().start(config); }

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
      [callable = std::move(callable), args = std::move(args), kwargs = std::move(kwargs)] {
        if (!args && !kwargs) return PyObject_CallNoArgs(callable.get());
        const Reference none = Reference::steal(args ? nullptr : PyTuple_New(0));
        PyObject* const arguments = args ? args.get() : none.get();
        return PyObject_Call(callable.get(), arguments, kwargs ? kwargs.get() : nullptr);
      },
      options);
}

bool PythonExecutor::interrupt(TaskId task) { return Runtime::get().interrupt(task); }

Stats PythonExecutor::get_stats() { return Runtime::get().statistics(); }

void PythonExecutor::submit_task(Shared<TaskState> task, const SubmitOptions& options) {
  Runtime::get().submit(std::move(task), options);
}

Duration PythonExecutor::duration_of(std::uint64_t nanoseconds) {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return Duration(static_cast<std::int64_t>(std::min(nanoseconds, most)));
}

}  // namespace unirun::python
