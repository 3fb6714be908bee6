#include "executors/python/tasks/worker.h"

#include <algorithm>
#include <iterator>

#include "executors/python/async/coroutine_task.h"
#include "executors/python/async/worker_loop.h"
#include "executors/python/calls/call_depth.h"
#include "executors/python/interpreter/forks.h"
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

// When there is no thread to stand in, it is asked for again.
constexpr Duration retry_after = std::chrono::milliseconds(10);

thread_local PythonWorker* this_worker = nullptr;

void carry_out(TaskState& task) {
  task.run();
  Forks::end_child();
}

}  // namespace

PythonWorker* PythonWorker::current() { return this_worker; }

PythonWorker::~PythonWorker() {
  WorkerLoop* const loop = loop_.load();
  // Else it never came to its end, and what it holds of Python's is left alone.
  if (loop != nullptr && loop->has_ended()) delete loop;
}

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
  wake();  // Its loop may wait for what is left there.
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

void PythonWorker::interrupt_running(bool again) {
  std::optional<OwnInterpreter::Visit> visiting;
  if (!visit(visiting)) return;
  const Shared<TaskState> task = running_.find_to_end(again);
  if (task) static_cast<void>(strike(*task));
}

std::vector<Shared<TaskState>> PythonWorker::all_running() {
  std::optional<OwnInterpreter::Visit> visiting;
  if (!visit(visiting)) return {};
  return running_.all();
}

// ---- Its life ----

void PythonWorker::wake() {
  if (rest_.exchange(called, std::memory_order_acq_rel) == sleeps) futex_wake_all(rest_);
}

// Until it is called, or that time: awake for a moment, where that pays, then asleep.
void PythonWorker::sleep(Instant until) {
  const auto is_called = [this] { return rest_.load(std::memory_order_acquire) == called; };
  if (!is_called() && !crew_.rendezvous().look(Side::worker, is_called)) {
    fall_asleep();
    const Instant* const deadline = until == Instant::max() ? nullptr : &until;
    while (!is_called() && futex_wait(rest_, sleeps, deadline) != ETIMEDOUT) {
    }
    crew_.rendezvous().appear(Side::worker);
  }
  // The crew calls all others.
  if (loop_.load(std::memory_order_relaxed) != nullptr) crew_.get_up(*this);
}

// From now on it has to be woken, unless it was called already.
void PythonWorker::fall_asleep() {
  std::uint32_t before = looks;
  rest_.compare_exchange_strong(before, sleeps, std::memory_order_acq_rel);
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
    end_loop();
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
    if (crew_.lie_down(*this)) sleep(Instant::max());
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
    const Instant next = turn_loop();
    thread.leave();
    if (next == Instant{} && !dismissed_.load()) continue;
    if (!crew_.lie_down(*this)) {
      if (dismissed_.load() && bound_.is_empty()) break;
      continue;
    }
    sleep(next);
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
    turn_loop_if_due();
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
  ContextState::Turn turn(task.bound_to.get());
  if (task.coroutine != nullptr && !task.is_settled()) {
    const RunningTask::Step step(running_, &task);
    if (!task.coroutine->belongs_on_worker()) {
      if (task.bound_to == nullptr) return;
      turn.keep();
      return hand_to_loop(task);
    }
  }
  // What came before this one.
  if (WorkerLoop* const loop = usable_loop(); loop != nullptr && loop->has_taken())
    static_cast<void>(this->turn(*loop));
  if (!task.start()) return;
  if (!task.was_queued()) return carry_out(task);  // Nobody's but ours: it does not count.
  counts_.started.add(1);
  observer_.on_taken(task);
  const Instant began = task.stands_for > 0 ? SystemClock().now() : Instant{};
  {
    const RunningTask::Step step(running_, &task);
    carry_out(task);
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

// ---- Coroutines of contexts ----

// It begins in the loop's next turn.
void PythonWorker::hand_to_loop(TaskState& task) {
  if (loop_.load(std::memory_order_relaxed) == nullptr)
    loop_.store(new WorkerLoop(*this, observer_, counts_, running_, watch_));
  task.add_owner();
  loop_.load(std::memory_order_relaxed)->take(Shared<TaskState>(&task));
}

// Null: there is none, or it cannot have a turn now.
WorkerLoop* PythonWorker::usable_loop() const {
  WorkerLoop* const loop = loop_.load(std::memory_order_relaxed);
  if (loop == nullptr) return nullptr;
  return CoroutineLoop::current() != nullptr || is_abandoned() ? nullptr : loop;
}

bool PythonWorker::is_loop_called() const {
  const WorkerLoop* const loop = usable_loop();
  return loop != nullptr && loop->is_called();
}

// When it is to have its next. On top of a task that runs a loop of its own, or that has used up
// the stack, it has its turn on a thread that stands in.
Instant PythonWorker::turn(WorkerLoop& loop) {
  const bool is_on_top = running_.get() != nullptr;
  if (!is_on_top || (has_stack_room() && !Asyncio::runs_here())) return loop.turn();
  Instant next = SystemClock().now() + retry_after;
  static_cast<void>(run_on_stand_in([&] { next = loop.turn(); }));
  return next;
}

Instant PythonWorker::turn_loop() {
  WorkerLoop* const loop = usable_loop();
  return loop != nullptr ? turn(*loop) : Instant::max();
}

void PythonWorker::turn_loop_if_due() {
  WorkerLoop* const loop = usable_loop();
  if (loop != nullptr && loop->is_due()) static_cast<void>(turn(*loop));
}

void PythonWorker::rest(Instant until) {
  prepare_to_sleep();
  if (is_loop_called() || is_abandoned()) return;
  PyThreadState* const state = PyEval_SaveThread();
  fall_asleep();
  futex_wait(rest_, sleeps, &until);
  attach_again(state);
}

void PythonWorker::end_loop() {
  WorkerLoop* const loop = loop_.load(std::memory_order_relaxed);
  if (loop == nullptr) return;
  const GILGuard guard;
  if (guard.attached()) loop->end();
}

std::vector<Shared<TaskState>> PythonWorker::waiting() {
  std::vector<Shared<TaskState>> tasks = bound_.all();
  if (WorkerLoop* const loop = loop_.load())
    std::ranges::move(loop->taken(), std::back_inserter(tasks));
  return tasks;
}

std::vector<Shared<TaskState>> PythonWorker::coroutines() const {
  const WorkerLoop* const loop = loop_.load();
  return loop != nullptr ? loop->tasks() : std::vector<Shared<TaskState>>();
}

void PythonWorker::cancel_coroutines() {
  if (WorkerLoop* const loop = loop_.load()) loop->cancel_all();
}

// ---- A task that waits for another ----

// Sleeps until the task is settled or there is something to do: true; false at `deadline`.
bool PythonWorker::wait_for_either(TaskState& task, Instant deadline, bool bound_only) {
  const std::uint32_t expected = task.expect();
  if (task.is_settled()) return true;
  waits_.store(true);
  if (bound_only) prepare_to_sleep();
  if (bound_only ? has_work() : !crew_.lie_down(*this)) {
    waits_.store(false);
    return true;
  }
  if (!bound_only && is_abandoned()) {  // Meanwhile: it takes nothing from the crew any more.
    leave_crew();
    waits_.store(false);
    return true;
  }
  PyThreadState* const state = PyEval_SaveThread();
  const Instant* const until = deadline == Instant::max() ? nullptr : &deadline;
  fall_asleep();
  const int woken = futex_wait_either(task.word(), expected, rest_, sleeps, until, FutexScope::own);
  waits_.store(false);
  if (!bound_only) leave_crew();
  attach_again(state);
  return woken != ETIMEDOUT;
}

void PythonWorker::leave_crew() {
  crew_.get_up(*this);
  if (is_abandoned()) crew_.stop_searching(*this);  // What it was called for is another's.
}

bool PythonWorker::serve_until(TaskState& task, Instant deadline) {
  const TaskState* const waiting = running_.get();
  // What is bound elsewhere needs nothing of what anybody may run; what is bound to nobody may.
  const bool bound_only =
      waiting != nullptr && waiting->bound_to != nullptr && task.bound_to != nullptr;
  WaitMark mark(task);
  // Of two contexts that close each other one sees the mark of the other.
  if (!task.was_queued() && is_held_up_by(task, running_.all())) return false;
  while (!task.is_settled()) {
    if (const Shared<TaskState> next = bound_only ? bound_.pop() : take()) {
      mark.serve(next.get());
      if (!run_with_room([&] { run(*next); }).ok()) run(*next);
      mark.serve(nullptr);
      turn_loop_if_due();
      continue;
    }
    const Instant next = turn_loop();
    if (task.is_settled()) break;
    const Instant until = std::min(deadline, next);
    // One that was given up is none of the crew, which may be another executor's by now.
    if (!wait_for_either(task, until, bound_only || is_abandoned()) &&
        (until == deadline || SystemClock().now() >= deadline))
      break;
  }
  crew_.stop_searching(*this);
  return task.is_settled();
}

// ---- A stack that is used up ----

unirun::Status PythonWorker::run_with_room(const std::function<void()>& work) {
  if (has_stack_room()) return work(), unirun::Status();
  return run_on_stand_in(work);
}

unirun::Status PythonWorker::run_on_stand_in(const std::function<void()>& work) {
  PyThreadState* const outer = PyThreadState_Get();
  return python::run_on_stand_in(
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
