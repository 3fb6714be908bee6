#include "executors/python/async/worker_loop.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "executors/python/async/coroutine_endings.h"
#include "executors/python/calls/call_depth.h"
#include "executors/python/tasks/worker.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

// So long the loop has its turn while something is ready, and so long others have theirs.
constexpr Duration slice = std::chrono::milliseconds(1);

}  // namespace

bool WorkerLoop::interrupt(const TaskState& task) { return worker_.interrupt(task); }

void WorkerLoop::wake() { worker_.wake(); }

// ---- Its turns ----

void WorkerLoop::take(Shared<TaskState> task) {
  ++count_;
  // Nobody closes it: it takes the share.
  static_cast<void>(taken_.push(task.release()));
}

bool WorkerLoop::is_due() const {
  return count_ >= tasks_per_turn || SystemClock().now() >= end_of_turn_ + slice;
}

// What it lacks, a descriptor or memory, may be there when the next coroutine comes.
void WorkerLoop::open() {
  if (!variables_) variables_ = Reference::steal(PyContext_New());
  if (!variables_) PyErr_Clear();
  if (!asyncio().is_open() && !CoroutineLoop::open()) return;
  const auto watched = watch_.add(asyncio().descriptor(), [this] {
    is_watched_.store(false);
    is_readable_.store(true);
    worker_.wake();
  });
  is_open_ = watched.ok();
  if (is_open_) {
    watched_ = *watched;
    unwatched_.reset();
  } else {
    unwatched_ = Error{.code = Errc::unsupported,
                       .message = "a loop for coroutines: " + watched.error().message};
  }
}

Instant WorkerLoop::turn() {
  const CallDepth new_chain(0);
  ContextState* const outer = ContextState::current();
  ContextState::set_current(nullptr);
  {
    const Turn here(*this);
    // What is to interrupt the task that waits for another here must not strike asyncio.
    const RunningTask::Step nobody(running_, nullptr);
    if (!is_open_ && has_taken()) open();
    run();
  }
  ContextState::set_current(outer);
  leave_contexts();
  end_of_turn_ = SystemClock().now();
  if (has_taken() || is_called() || asyncio().wants_turn()) return Instant{};
  if (!is_watched_.exchange(true)) watch_.look(watched_);
  return next_;
}

void WorkerLoop::run() {
  is_idle_ = false;
  next_ = Instant{};
  is_readable_.store(false);
  if (!asyncio().is_open()) {
    next_ = Instant::max();
    return begin_taken();
  }
  end_of_turn_ = SystemClock().now() + slice;
  const bool has_entered = variables_ && PyContext_Enter(variables_.get()) == 0;
  asyncio().run();
  if (has_entered && PyContext_Exit(variables_.get()) != 0) PyErr_Clear();
}

void WorkerLoop::begin_taken() {
  for (unsigned begun = 0; begun < tasks_per_turn; ++begun) {
    Shared<TaskState> task = taken_.pop();
    if (!task) return;
    --count_;
    begin(std::move(task));
  }
}

bool WorkerLoop::serve() {
  begin_taken();
  run_posted();  // Who is to be cancelled has begun.
  if (is_idle_ || worker_.has_bound_work() || SystemClock().now() >= end_of_turn_) asyncio().stop();
  return false;
}

bool WorkerLoop::wait(int descriptor, Instant until) {
  pollfd watched{descriptor, POLLIN, 0};
  ::poll(&watched, 1, 0);
  if (watched.revents != 0) return true;
  if (until != Instant{}) {
    is_idle_ = true;
    next_ = until;
  }
  return false;
}

// ---- Its tasks ----

std::optional<Error> WorkerLoop::refusal(const TaskState& task) {
  if (is_ending_)
    return Error{.code = Errc::cancelled, .message = "the executor was shut down before it began"};
  if (!task.bound_to->is_open())
    return Error{
        .code = Errc::cancelled,
        .message = fmt::format("context {} was closed before it began", task.bound_to->name())};
  if (unwatched_) return unwatched_;
  return CoroutineLoop::refusal(task);
}

void WorkerLoop::let_go(TaskState& task) { left_.push_back(task.bound_to); }

// Not within asyncio: the end of a context runs what its names leave behind.
void WorkerLoop::leave_contexts() {
  const auto contexts = std::exchange(left_, {});
  for (const auto& context : contexts) context->leave();
}

// ---- Its end ----

void WorkerLoop::end() {
  if (asyncio().is_open()) {
    const Instant last = SystemClock().now() + CoroutineEndings::patience;
    const Reference ending = asyncio().begin_end();
    if (!ending) PyErr_Clear();
    while (ending && !worker_.is_abandoned() && SystemClock().now() < last) {
      const Instant next = turn();
      if (Asyncio::is_done(ending.get())) break;
      worker_.rest(std::min(next, last));
    }
  }
  is_ending_ = true;
  while (has_taken()) begin_taken();
  watch_.remove(watched_);
  if (asyncio().is_open()) asyncio().shut();
  settle_what_is_left();
  variables_ = {};
  drop();
  leave_contexts();
  has_ended_ = true;
}

}  // namespace unirun::python
