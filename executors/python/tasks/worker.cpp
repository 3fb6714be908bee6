#include "executors/python/tasks/worker.h"

#include "executors/python/async/coroutine_task.h"
#include "executors/python/calls/call_depth.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/interpreter/graveyard.h"
#include "executors/python/interpreter/main_thread.h"
#include "executors/python/interpreter/python_thread.h"
#include "executors/python/interpreter/stack_room.h"
#include "executors/python/interpreter/stand_in.h"
#include "executors/python/tasks/waiting.h"
#include "framework/clock.h"
#include "framework/futex.h"

namespace unirun::python {
namespace {

// So many tasks are run before others are let at the GIL, if none of them lets go of it.
constexpr unsigned tasks_per_hold = 256;

thread_local PythonWorker* this_worker = nullptr;

}  // namespace

PythonWorker* PythonWorker::current() { return this_worker; }

// ---- For the owner ----

unirun::Status PythonWorker::start() {
  auto thread = ServiceThread::start(
      "py-worker-" + std::to_string(options_.id), [this] { live(); }, options_.stack_bytes);
  if (!thread.ok()) return thread.error();
  thread_.emplace(std::move(*thread));
  if (!options_.cpu) return {};
  unirun::Status settled_down = settled_down_.get_future().get();
  if (!settled_down.ok()) static_cast<void>(join(Instant::max()));
  return settled_down;
}

void PythonWorker::dismiss() {
  dismissed_.store(true);
  bound_.close();
  crew_.call(*this);
}

bool PythonWorker::join(Instant deadline) {
  if (!thread_) return true;
  const Duration rest =
      deadline == Instant::max() ? Duration::max() : deadline - SystemClock().now();
  if (!end_->bell.wait(rest, [this] { return has_ended(); })) return false;
  while (!thread_->try_join()) {
  }
  thread_.reset();
  return true;
}

void PythonWorker::abandon() {
  abandoned_.store(true);
  dismiss();
  if (thread_) thread_->detach();
}

bool PythonWorker::push(TaskState* task) {
  const PythonTaskQueue::Pushed pushed = bound_.push(task);
  if (pushed == PythonTaskQueue::Pushed::first) {
    crew_.call(*this);
    if (waits_.load()) wake();
  }
  return pushed != PythonTaskQueue::Pushed::closed;
}

// Attaches to the interpreter where its tasks run, unless that is the main one. False: it has
// ended.
bool PythonWorker::visit(std::optional<OwnInterpreter::Visit>& visit) {
  if (!options_.interpreter) return true;
  if (!begun_.load() || !interpreter_) return false;
  return visit.emplace(*interpreter_).attached();
}

bool PythonWorker::interrupt(const TaskState& task) {
  std::optional<OwnInterpreter::Visit> visiting;
  return visit(visiting) && strike(task);
}

// Thread: with the GIL of its interpreter.
bool PythonWorker::strike(const TaskState& task) {
  const RunningTask::Strike strike = running_.strike(task);
  if (strike == RunningTask::Strike::not_now) observer_.ask_again(*running_.get());
  return strike != RunningTask::Strike::missed;
}

template <class Predicate>
bool PythonWorker::interrupt_if(Predicate&& is_meant) {
  std::optional<OwnInterpreter::Visit> visiting;
  if (!visit(visiting)) return false;
  const Shared<TaskState> task = running_.find(std::forward<Predicate>(is_meant));
  return task && strike(*task);
}

bool PythonWorker::interrupt(const ContextState& context) {
  return interrupt_if([&](const TaskState& task) { return task.bound_to.get() == &context; });
}

bool PythonWorker::interrupt(TaskId id) {
  return interrupt_if([id](const TaskState& task) { return task.id == id; });
}

Shared<TaskState> PythonWorker::interrupt_running() {
  std::optional<OwnInterpreter::Visit> visiting;
  if (!visit(visiting)) return {};
  Shared<TaskState> task = running_.find([](const TaskState& /*task*/) { return true; });
  if (task) static_cast<void>(strike(*task));
  return task;
}

// ---- Its life ----

void PythonWorker::wake() {
  called_.store(1, std::memory_order_release);
  futex_wake_all(called_);
}

void PythonWorker::sleep() {
  while (called_.load(std::memory_order_acquire) == 0) futex_wait(called_, 0, nullptr);
}

void PythonWorker::live() {
  const std::shared_ptr<End> end = end_;
  this_worker = this;
  const unirun::Status settled_down = settle_down();
  settled_down_.set_value(settled_down);
  if (settled_down.ok()) {
    begin();
    refusal_ ? refuse() : work();
    crew_.stop_searching(*this);
    end_contexts();
    if (interpreter_) interpreter_->end();
  }
  end->is_here.store(true);
  end->bell.ring();
}

unirun::Status PythonWorker::settle_down() {
  if (options_.cpu) {
    if (unirun::Status stays = stay_on(*options_.cpu); !stays.ok()) return stays;
  }
  if (options_.node) memory_ = prefer_memory_of(*options_.node);
  return {};
}

void PythonWorker::begin() {
  if (options_.interpreter) {
    auto started = OwnInterpreter::start(*options_.interpreter);
    if (started.ok()) {
      interpreter_ = *std::move(started);
      interpreter_id_.store(interpreter_->id());
    } else {
      refusal_ = started.error();
    }
  }
  begun_.store(true);
  beginning_.ring();
}

Result<void> PythonWorker::wait_until_begun() const {
  static_cast<void>(beginning_.wait(Duration::max(), [this] { return begun_.load(); }));
  if (refusal_) return *refusal_;
  return {};
}

// There is nothing in which tasks could run.
void PythonWorker::refuse() {
  while (!dismissed_.load() || !bound_.is_empty()) {
    while (const Shared<TaskState> task = take()) {
      if (task->claim_before_start(Ending::failed)) task->fail(*refusal_);
    }
    if (crew_.lie_down(*this)) sleep();
  }
}

void PythonWorker::work() {
  PythonThread& thread = PythonThread::current();
  const SystemClock clock;
  for (;;) {
    const Instant asked = clock.now();
    if (!thread.attach()) break;
    counts_.gil_wait.record(clock.now() - asked);
    running_.settle_in();
    serve();
    thread.leave();
    if (!crew_.lie_down(*this)) {
      if (dismissed_.load() && bound_.is_empty()) break;
      continue;
    }
    sleep();
  }
}

Shared<TaskState> PythonWorker::take() {
  // The crew goes on without it, for another executor perhaps.
  if (abandoned_.load(std::memory_order_relaxed)) return bound_.pop();
  if (searches_ || !bound_next_ || bound_.seems_empty()) {
    bound_next_ = true;
    if (Shared<TaskState> task = crew_.next(*this)) return task;
    return bound_.pop();
  }
  bound_next_ = false;
  if (Shared<TaskState> task = bound_.pop()) return task;
  return crew_.next(*this);
}

void PythonWorker::serve() {
  unsigned held = 0;
  while (const Shared<TaskState> task = take()) {
    run(*task);
    if (++held % tasks_per_hold == 0) breathe();
  }
}

void PythonWorker::breathe() {
  attach_again(PyEval_SaveThread());
  Graveyard::clear();
}

void PythonWorker::attach_again(PyThreadState* state) {
  const Instant asked = SystemClock().now();
  MainThread::take_gil(state);
  counts_.gil_wait.record(SystemClock().now() - asked);
}

void PythonWorker::run(TaskState& task) {
  const CallDepth new_chain(0);
  const ContextState::Turn turn(task.bound_to.get());
  if (task.coroutine != nullptr && !task.is_settled()) {
    const RunningTask::Step step(running_, task);
    if (!task.coroutine->belongs_on_worker()) return;
  }
  if (!task.start()) return;
  if (!task.was_queued()) return task.run();  // Nobody's but ours: it does not count.
  counts_.started.add(1);
  observer_.on_taken(task);
  const Instant began = task.stands_for > 0 ? SystemClock().now() : Instant{};
  {
    const RunningTask::Step step(running_, task);
    task.run();
  }
  if (task.ending() == Ending::cancelled || task.ending() == Ending::timed_out) task.mark_over();
  count(task, began);
  observer_.on_ended(task);
}

void PythonWorker::count(const TaskState& task, Instant began) {
  counts_.count_end(task.ending());
  if (task.stands_for == 0) return;
  counts_.queue_wait.record(began - task.submitted_at, task.stands_for);
  counts_.execution.record(SystemClock().now() - began, task.stands_for);
}

// ---- Contexts ----

void PythonWorker::move_in(std::shared_ptr<ContextState> context) {
  ContextState* const key = context.get();
  contexts_.emplace(key, std::move(context));
}

void PythonWorker::move_out(ContextState& context) {
  context_count_.fetch_sub(1);
  contexts_.erase(&context);
}

void PythonWorker::end_contexts() {
  if (contexts_.empty()) return;
  const GILGuard guard;
  if (!guard.attached()) return;
  while (!contexts_.empty()) std::shared_ptr(contexts_.begin()->second)->end();
}

// ---- A task that waits for another ----

// Sleeps until the task is settled or there is something to do: true; false at `deadline`.
bool PythonWorker::wait_for_either(TaskState& task, Instant deadline, bool bound_only) {
  const std::uint32_t expected = task.expect();
  if (task.is_settled()) return true;
  if (bound_only) {
    prepare_to_sleep();
    waits_.store(true);
    if (!bound_.is_empty()) {
      waits_.store(false);
      return true;
    }
  } else if (!crew_.lie_down(*this)) {
    return true;
  }
  PyThreadState* const state = PyEval_SaveThread();
  const Instant* const until = deadline == Instant::max() ? nullptr : &deadline;
  const int woken = futex_wait_either(task.word(), expected, called_, 0, until, FutexScope::own);
  waits_.store(false);
  if (!bound_only) crew_.get_up(*this);
  attach_again(state);
  return woken != ETIMEDOUT;
}

bool PythonWorker::serve_until(TaskState& task, Instant deadline) {
  const TaskState* const waiting = running_.get();
  // What is bound elsewhere needs nothing of what anybody may run; what is bound to nobody may.
  const bool bound_only =
      waiting != nullptr && waiting->bound_to != nullptr && task.bound_to != nullptr;
  WaitMark mark(task);
  while (!task.is_settled()) {
    if (const Shared<TaskState> next = bound_only ? bound_.pop() : take()) {
      mark.serve(next.get());
      if (!run_with_room([&] { run(*next); })) run(*next);
      mark.serve(nullptr);
    } else if (!wait_for_either(task, deadline, bound_only)) {
      break;
    }
  }
  crew_.stop_searching(*this);
  return task.is_settled();
}

// ---- A stack that is used up ----

bool PythonWorker::run_with_room(const std::function<void()>& work) {
  if (has_stack_room()) return work(), true;
  PyThreadState* const outer = PyThreadState_Get();
  return run_on_stand_in(
      [&] {
        this_worker = this;
        PyThreadState* const inner = PyThreadState_Get();
        running_.move(outer, inner);
        work();
        running_.move(inner, outer);
        this_worker = nullptr;
      },
      options_.stack_bytes);
}

}  // namespace unirun::python
