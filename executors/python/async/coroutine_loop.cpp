#include "executors/python/async/coroutine_loop.h"

#include <fmt/format.h>

#include <utility>

#include "executors/python/async/coroutine_driver.h"
#include "executors/python/interpreter/forks.h"
#include "executors/python/values/exception_text.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

thread_local CoroutineLoop* this_loop = nullptr;

}  // namespace

CoroutineLoop* CoroutineLoop::current() { return this_loop; }

CoroutineLoop::Turn::Turn(CoroutineLoop& loop) : outer_(std::exchange(this_loop, &loop)) {}

CoroutineLoop::Turn::~Turn() { this_loop = outer_; }

// ---- Its link ----

void LoopLink::post(std::function<void()> function) {
  const std::lock_guard lock(mutex_);
  if (loop_ != nullptr) loop_->post(std::move(function));
}

void LoopLink::cancel(Shared<TaskState> task) {
  const std::lock_guard lock(mutex_);
  if (loop_ != nullptr) loop_->cancel(std::move(task));
}

void LoopLink::give_up(Shared<TaskState> task) {
  const std::lock_guard lock(mutex_);
  if (loop_ != nullptr) loop_->give_up(std::move(task));
}

void LoopLink::cut() {
  const std::lock_guard lock(mutex_);
  loop_ = nullptr;
}

// ---- For all ----

void CoroutineLoop::post(std::function<void()> function) {
  {
    const std::lock_guard lock(posted_mutex_);
    if (!takes_posts_) return;
    posted_.push_back(std::move(function));
    has_posted_.store(true);
  }
  wake();
}

void CoroutineLoop::cancel(Shared<TaskState> task) {
  post([this, task = std::move(task)] { cancel_in_asyncio(*task->coroutine); });
}

void CoroutineLoop::cancel_all() {
  post([this] {
    for (const Shared<TaskState>& task : tasks()) cancel_in_asyncio(*task->coroutine);
  });
}

// What is left of it in asyncio fails in its next step.
void CoroutineLoop::give_up(Shared<TaskState> task) {
  post([this, task = std::move(task)] {
    CoroutineTask& code = *task->coroutine;
    if (code.driver_ == nullptr) return;
    const Reference left = Reference::borrow(code.asyncio_task_);
    task->bound_to->count_stuck();
    leave_alone(code, "its context was closed");
    if (left && !Reference::steal(PyObject_CallMethod(left.get(), "cancel", nullptr)))
      PyErr_Clear();
  });
}

std::vector<Shared<TaskState>> CoroutineLoop::tasks() const {
  std::vector<Shared<TaskState>> found;
  const std::lock_guard lock(tasks_mutex_);
  for (CoroutineTask* task = first_; task != nullptr; task = task->next_) {
    task->state_.add_owner();
    found.emplace_back(&task->state_);
  }
  return found;
}

void CoroutineLoop::cancel_in_asyncio(CoroutineTask& task) {
  if (task.cancelled_.exchange(true) || task.asyncio_task_ == nullptr) return;
  if (!Reference::steal(PyObject_CallMethod(task.asyncio_task_, "cancel", nullptr))) PyErr_Clear();
}

// ---- Its life ----

bool CoroutineLoop::open() {
  driver_type_ = make_driver_type();
  if (driver_type_ && asyncio_.open(*this)) return true;
  failure_ = error_of_exception();
  failure_.code = Errc::loop_stopped;
  failure_.message = "there is no asyncio to run it: " + failure_.message;
  return false;
}

void CoroutineLoop::run_posted() {
  if (!has_posted_.load()) return;
  std::vector<std::function<void()>> posted;
  {
    const std::lock_guard lock(posted_mutex_);
    posted.swap(posted_);
    has_posted_.store(false);
  }
  for (const auto& function : posted) function();
}

void CoroutineLoop::settle_what_is_left() {
  link_->cut();
  {
    const std::lock_guard lock(posted_mutex_);
    takes_posts_ = false;
  }
  run_posted();
  while (first_ != nullptr) leave_alone(*first_, "its loop was ended");
}

// A coroutine that swallows its cancellation.
void CoroutineLoop::leave_alone(CoroutineTask& task, const char* when) {
  task.driver_->task = nullptr;
  if (task.state_.claim(Ending::failed)) {
    task.state_.fail(
        {.code = Errc::stuck,
         .message = fmt::format("it went on after it was cancelled, and {}: let it end when "
                                "asyncio.CancelledError is raised in it",
                                when)});
  }
  count_end(task);
}

void CoroutineLoop::drop() {
  driver_type_ = {};
  asyncio_.drop();
}

// ---- The beginning of a task ----

void CoroutineLoop::link(CoroutineTask& task) {
  const std::lock_guard lock(tasks_mutex_);
  task.next_ = std::exchange(first_, &task);
  if (task.next_ != nullptr) task.next_->previous_ = &task;
}

void CoroutineLoop::unlink(CoroutineTask& task) {
  const std::lock_guard lock(tasks_mutex_);
  if (task.previous_ != nullptr) {
    task.previous_->next_ = task.next_;
  } else {
    first_ = task.next_;
  }
  if (task.next_ != nullptr) task.next_->previous_ = task.previous_;
  task.next_ = task.previous_ = nullptr;
}

std::optional<Error> CoroutineLoop::refusal(const TaskState& /*task*/) {
  if (asyncio_.is_open()) return std::nullopt;
  return failure_;
}

void CoroutineLoop::begin(Shared<TaskState> task) {
  CoroutineTask& code = *task->coroutine;
  code.link_ = link_;
  code.loop_.store(this, std::memory_order_release);
  if (!task->start()) return let_go(*task);
  static_cast<void>(task.release());  // Among those that have begun, until count_end().
  link(code);
  counts_.started.add(1);
  observer_.on_taken(code.state_);
  if (code.state_.stands_for > 0) {
    code.began_ = SystemClock().now();
    counts_.queue_wait.record(code.began_ - code.state_.submitted_at, code.state_.stands_for);
  }
  std::optional<Error> error = refusal(code.state_);
  if (!error) {
    const auto started = start_coroutine(code);
    if (started.ok()) return;
    error = started.error();
  }
  const bool is_cancelled = error->code == Errc::cancelled;
  if (code.state_.claim(is_cancelled ? Ending::cancelled : Ending::failed))
    code.state_.fail(*std::move(error));
  count_end(code);
}

Result<void> CoroutineLoop::start_coroutine(CoroutineTask& task) {
  const auto coroutine = task.make();
  if (!coroutine.ok()) return coroutine.error();
  const Reference driver = drive(driver_type_.get(), coroutine->get(), *this, task);
  if (!driver) return error_of_exception();
  task.driver_ = reinterpret_cast<CoroutineDriver*>(driver.get());
  // Its first step may be its last, and the task be gone then.
  task.state_.add_owner();
  const Shared<TaskState> kept(&task.state_);
  const Reference context = task.context();
  Reference asyncio_task = asyncio_.start(driver.get(), task.driver_->coroutine, context.get());
  if (asyncio_task) {
    if (task.driver_ != nullptr) task.asyncio_task_ = asyncio_task.release();
    return {};
  }
  task.driver_->task = nullptr;
  return error_of_exception();
}

// ---- Steps ----

CoroutineLoop::Step::Step(CoroutineLoop& loop, CoroutineTask& task)
    : step_(loop.running_, &task.state()), outer_(ContextState::current()) {
  ContextState::set_current(task.state().bound_to.get());
  // Nobody else counts.
  loop.steps_.store(loop.steps() + 1, std::memory_order_relaxed);
}

CoroutineLoop::Step::~Step() {
  Forks::end_child();
  ContextState::set_current(outer_);
}

CoroutineEnd CoroutineLoop::end(CoroutineTask& task, PyObject* value) {
  if (value != nullptr) {
    task.end(value, CoroutineEnd::returned);
    count_end(task);
    return CoroutineEnd::returned;
  }
  if (PyErr_ExceptionMatches(asyncio_.cancelled_error()) == 0) {
    task.end(nullptr, CoroutineEnd::raised);
    count_end(task);
    return CoroutineEnd::raised;
  }
  PyErr_Clear();
  task.end(nullptr, CoroutineEnd::cancelled);
  count_end(task);
  PyErr_SetNone(asyncio_.cancelled_error());
  return CoroutineEnd::cancelled;
}

void CoroutineLoop::count_end(CoroutineTask& task) {
  unlink(task);
  task.driver_ = nullptr;
  const Reference asyncio_task = Reference::steal(std::exchange(task.asyncio_task_, nullptr));
  const Shared<TaskState> state(&task.state_);
  state->mark_over();
  counts_.count_end(state->ending());
  if (state->stands_for > 0)
    counts_.execution.record(SystemClock().now() - task.began_, state->stands_for);
  let_go(*state);
  observer_.on_ended(*state);
}

}  // namespace unirun::python
