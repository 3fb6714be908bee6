#include "executors/python/tasks/worker_pool.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "executors/python/interpreter/gil_guard.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

// A worker that runs nothing has so long to end at least: it wants the GIL for that.
constexpr Duration moment_to_end = std::chrono::seconds(1);

// What some workers have counted.
struct Sum {
  Stats stats;

  void add(const WorkerCounts& counts) {
    const std::uint64_t begun = counts.started.get();
    const std::uint64_t ended_before = ended();
    stats.tasks_executed += counts.executed.get();
    stats.tasks_failed += counts.failed.get();
    stats.cancelled += counts.cancelled.get();
    stats.timed_out += counts.timed_out.get();
    const std::uint64_t ended_of_it = ended() - ended_before;
    if (begun > ended_of_it) stats.running += begun - ended_of_it;
    stats.interrupted += counts.interrupted.get();
    counts.add_times_to(stats);
  }
  [[nodiscard]] std::uint64_t ended() const {
    return stats.tasks_executed + stats.tasks_failed + stats.cancelled + stats.timed_out;
  }
};

}  // namespace

std::uint32_t WorkerPool::cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
}

// ---- Beginning and end ----

std::shared_ptr<PythonWorker> WorkerPool::make_worker(std::uint32_t id) {
  PythonWorker::Options options{.id = id,
                                .stack_bytes = options_.stack_bytes,
                                .cpu = {},
                                .node = {},
                                .interpreter = options_.interpreter};
  if (!options_.pin.empty()) options.cpu = options_.pin[id % options_.pin.size()];
  if (options.cpu && nodes_.ids().size() > 1) options.node = nodes_.node_of(*options.cpu);
  return std::make_shared<PythonWorker>(crew_, observer_, watch_, std::move(options));
}

// Those of the start before this one.
void WorkerPool::retire() {
  const std::lock_guard lock(mutex_);
  for (Workers* const workers : {&workers_, &given_up_}) {
    for (auto& worker : *workers) {
      if (!worker->has_ended()) kept_.push_back(std::move(worker));
    }
    workers->clear();
  }
  ending_ = false;
}

Result<void> WorkerPool::start(Options options) {
  options_ = std::move(options);
  if (options_.size == 0) options_.size = cores();
  nodes_ = NumaNodes::read();
  retire();
  crew_.gather();
  for (std::uint32_t id = 0; id < options_.size; ++id) {
    auto worker = make_worker(id);
    if (const auto started = worker->start(); !started.ok()) {
      crew_.dismiss();
      const GILRelease released;  // Those that have begun ask for it.
      static_cast<void>(join(Instant::max()));
      return Error{.code = Errc::unsupported,
                   .message = fmt::format("worker {} of {}: {}", id + 1, options_.size,
                                          started.error().message)};
    }
    const std::lock_guard lock(mutex_);
    workers_.push_back(std::move(worker));
  }
  return {};
}

std::size_t WorkerPool::join(Instant deadline) {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  std::size_t left = 0;
  const Instant soon = SystemClock().now() + moment_to_end;
  for (const auto& worker : workers_) worker->dismiss();
  for (auto& worker : workers_) {
    const bool runs = worker->running() != nullptr;
    if (worker->join(runs ? deadline : std::max(deadline, soon))) continue;
    worker->abandon();
    ++left;
  }
  watch_.stop();
  return left;
}

void WorkerPool::forget() {
  new (&mutex_) std::mutex;
  new (&watch_) DescriptorWatch;
  std::ranges::move(workers_, std::back_inserter(kept_));
  workers_.clear();
  crew_.forget();
  crew_.dismiss();
}

Result<void> WorkerPool::wait_until_begun() {
  for (const auto& worker : workers()) {
    if (auto begun = worker->wait_until_begun(); !begun.ok()) return begun;
  }
  return {};
}

bool WorkerPool::has_ended() {
  const std::lock_guard lock(mutex_);
  const auto ended = [](const auto& worker) { return worker->has_ended(); };
  return std::ranges::all_of(workers_, ended) && std::ranges::all_of(given_up_, ended) &&
         std::ranges::all_of(kept_, ended);
}

// ---- What runs ----

WorkerPool::Workers WorkerPool::workers() {
  const std::lock_guard lock(mutex_);
  return workers_;
}

WorkerPool::Workers::iterator WorkerPool::find(const TaskState& task) {
  return std::ranges::find_if(workers_,
                              [&](const auto& worker) { return worker->running() == &task; });
}

// Outside the lock, since it may run Python code.
bool WorkerPool::interrupt(const TaskState& task) {
  std::shared_ptr<PythonWorker> worker;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = find(task); found != workers_.end()) worker = *found;
  }
  return worker != nullptr && worker->interrupt(task) && !worker->is_shielded();
}

bool WorkerPool::interrupt(TaskId id) {
  return std::ranges::any_of(workers(), [id](const auto& worker) { return worker->interrupt(id); });
}

void WorkerPool::interrupt_all(bool again) {
  for (const auto& worker : workers()) worker->interrupt_running(again);
}

std::vector<Shared<TaskState>> WorkerPool::all_running() {
  std::vector<Shared<TaskState>> tasks;
  for (const auto& worker : workers())
    std::ranges::move(worker->all_running(), std::back_inserter(tasks));
  return tasks;
}

std::vector<Shared<TaskState>> WorkerPool::all_running_with(const TaskState& task) {
  std::shared_ptr<PythonWorker> worker;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = find(task); found != workers_.end()) worker = *found;
  }
  return worker != nullptr ? worker->all_running() : std::vector<Shared<TaskState>>();
}

std::shared_ptr<PythonWorker> WorkerPool::give_up(const TaskState& task) {
  const std::lock_guard lock(mutex_);
  const auto found = find(task);
  if (found == workers_.end() || ending_) return nullptr;
  auto successor = make_worker((*found)->id());
  if (!successor->start().ok()) return nullptr;
  (*found)->abandon();
  given_up_.push_back(std::exchange(*found, std::move(successor)));
  return given_up_.back();
}

std::shared_ptr<PythonWorker> WorkerPool::choose_for_context() {
  const std::lock_guard lock(mutex_);
  if (workers_.empty() || ending_) return nullptr;
  const auto& chosen = *std::ranges::min_element(
      workers_, {}, [](const auto& worker) { return worker->contexts(); });
  chosen->expect_context();
  return chosen;
}

std::shared_ptr<PythonWorker> WorkerPool::worker_in(std::int64_t interpreter_id) {
  if (!options_.interpreter || interpreter_id < 0) return nullptr;
  const auto all = workers();
  const auto found = std::ranges::find(all, interpreter_id, &PythonWorker::interpreter_id);
  return found != all.end() ? *found : nullptr;
}

std::vector<Shared<TaskState>> WorkerPool::bound_tasks() {
  std::vector<Shared<TaskState>> tasks;
  const std::lock_guard lock(mutex_);
  for (const auto& worker : workers_)
    std::ranges::move(worker->waiting(), std::back_inserter(tasks));
  return tasks;
}

std::vector<Shared<TaskState>> WorkerPool::coroutines() {
  std::vector<Shared<TaskState>> tasks;
  for (const auto& worker : workers())
    std::ranges::move(worker->coroutines(), std::back_inserter(tasks));
  return tasks;
}

void WorkerPool::cancel_coroutines() {
  for (const auto& worker : workers()) worker->cancel_coroutines();
}

NumaReport WorkerPool::numa_report() {
  NumaReport report{.nodes = nodes_.ids(), .is_applied = false, .reason = {}};
  if (report.nodes.size() <= 1) {
    report.reason = "no-op, one node";
    return report;
  }
  if (options_.pin.empty()) {
    report.reason = "no-op, workers stay on no CPU (Config::pin)";
    return report;
  }
  const std::lock_guard lock(mutex_);
  for (const auto& worker : workers_) {
    if (worker->memory().ok()) continue;
    report.reason =
        fmt::format("no-op, worker {}: {}", worker->id(), worker->memory().error().message);
    return report;
  }
  report.is_applied = true;
  report.reason = "each worker prefers memory of the node of its CPU";
  return report;
}

std::uint64_t WorkerPool::running_given_up() {
  Sum sum;
  const std::lock_guard lock(mutex_);
  for (const auto& worker : given_up_) sum.add(worker->counts());
  return sum.stats.running;
}

Stats WorkerPool::statistics() {
  Sum sum;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& worker : given_up_) sum.add(worker->counts());
    for (const auto& worker : workers_) {
      sum.add(worker->counts());
      sum.stats.per_worker.push_back({.id = worker->id(),
                                      .executed = worker->counts().executed.get(),
                                      .failed = worker->counts().failed.get(),
                                      .cancelled = worker->counts().cancelled.get(),
                                      .timed_out = worker->counts().timed_out.get(),
                                      .interrupted = worker->counts().interrupted.get(),
                                      .is_busy = worker->running() != nullptr,
                                      .cpu = worker->cpu()});
    }
    sum.stats.stuck = given_up_.size();
    sum.stats.workers = workers_.size();
  }
  return sum.stats;
}

}  // namespace unirun::python
