#include "executors/python/async/async_loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "executors/python/async/coroutine_driver.h"
#include "executors/python/interpreter/graveyard.h"
#include "executors/python/interpreter/interruption.h"
#include "executors/python/interpreter/interruption_lock.h"
#include "executors/python/interpreter/main_thread.h"
#include "executors/python/interpreter/python_thread.h"
#include "executors/python/values/exception_text.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

// So many tasks begin before asyncio has its turn.
constexpr unsigned tasks_per_turn = 256;

thread_local AsyncLoop* this_loop = nullptr;

}  // namespace

AsyncLoop* AsyncLoop::current() { return this_loop; }

AsyncLoop::~AsyncLoop() {
  if (bell_ >= 0) ::close(bell_);
}

// ---- For the owner ----

unirun::Status AsyncLoop::start() {
  bell_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (bell_ < 0) return unirun::Error::from_errno(errno, "eventfd() for a loop of asyncio's");
  auto thread = ServiceThread::start(
      "py-loop-" + std::to_string(options_.id), [this] { live(); }, options_.stack_bytes);
  if (!thread.ok()) return thread.error();
  thread_.emplace(std::move(*thread));
  return {};
}

void AsyncLoop::dismiss() {
  queue_.close();
  dismissed_.store(true);
  post([this] {
    if (asyncio_.is_open()) asyncio_.stop();
  });
}

bool AsyncLoop::join(Instant deadline) {
  if (!thread_) return true;
  const Duration rest =
      deadline == Instant::max() ? Duration::max() : deadline - SystemClock().now();
  if (!end_.wait(rest, [this] { return ended_.load(); })) return false;
  while (!thread_->try_join()) {
  }
  thread_.reset();
  return true;
}

void AsyncLoop::abandon() {
  abandoned_ = true;
  dismiss();
  if (thread_) thread_->detach();
  thread_.reset();
}

// ---- For all ----

// Whoever goes to sleep says so first and then looks once more; whoever has something for it says
// so first and then looks whether it sleeps.
void AsyncLoop::wake() {
  if (!asleep_.exchange(false)) return;
  const std::uint64_t once = 1;
  static_cast<void>(::write(bell_, &once, sizeof once));
}

bool AsyncLoop::push(TaskState* task) {
  const PythonTaskQueue::Pushed pushed = queue_.push(task);
  if (pushed == PythonTaskQueue::Pushed::first) wake();
  if (pushed != PythonTaskQueue::Pushed::closed) return true;
  load_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

Shared<TaskState> AsyncLoop::take_left() {
  Shared<TaskState> task = queue_.pop();
  if (task) load_.fetch_sub(1, std::memory_order_relaxed);
  return task;
}

Shared<TaskState> AsyncLoop::take_oldest() {
  Shared<TaskState> task = queue_.pop_oldest();
  if (task) load_.fetch_sub(1, std::memory_order_relaxed);
  return task;
}

void AsyncLoop::post(std::function<void()> function) {
  {
    const std::lock_guard lock(posted_mutex_);
    if (!takes_posts_) return;
    posted_.push_back(std::move(function));
    has_posted_.store(true);
  }
  wake();
}

void AsyncLoop::cancel_in_asyncio(CoroutineTask& task) {
  if (task.cancelled_.exchange(true) || task.asyncio_task_ == nullptr) return;
  if (!Reference::steal(PyObject_CallMethod(task.asyncio_task_, "cancel", nullptr))) PyErr_Clear();
}

void AsyncLoop::cancel(Shared<TaskState> task) {
  post([this, task = std::move(task)] { cancel_in_asyncio(*task->coroutine); });
}

void AsyncLoop::cancel_all() {
  post([this] {
    for (const Shared<TaskState>& task : tasks()) cancel_in_asyncio(*task->coroutine);
  });
}

// ---- With the GIL ----

bool AsyncLoop::interrupt(const TaskState& task) {
  const InterruptionLock lock(interruption_mutex_);
  if (running_.load(std::memory_order_relaxed) != &task) return false;
  if (is_importing(python_state_)) return false;  // Whoever asks does so again.
  if (!interrupt_thread(python_id_)) return false;
  if (!interrupted_) counts_.interrupted.add(1);
  interrupted_ = true;
  return true;
}

void AsyncLoop::interrupt_running() {
  if (const TaskState* const task = running_.load()) interrupt(*task);
}

std::vector<Shared<TaskState>> AsyncLoop::tasks() const {
  std::vector<Shared<TaskState>> found;
  for (CoroutineTask* task = first_; task != nullptr; task = task->next_) {
    task->state_.add_owner();
    found.emplace_back(&task->state_);
  }
  return found;
}

// ---- Its life ----

void AsyncLoop::live() {
  this_loop = this;
  PythonThread& thread = PythonThread::current();
  if (thread.attach()) {
    python_id_ = PyThread_get_thread_ident();
    python_state_ = PyThreadState_Get();
    driver_type_ = make_driver_type();
    if (driver_type_ && asyncio_.open(*this)) {
      asyncio_.run();
      asyncio_.close();
    } else {
      failure_ = error_of_exception();
      failure_.code = Errc::loop_stopped;
      failure_.message = "there is no asyncio to run it: " + failure_.message;
      fail_until_dismissed();
    }
    settle_what_is_left();
    driver_type_ = {};
    asyncio_.drop();
    thread.leave();
  }
  ended_.store(true);
  end_.ring();
}

void AsyncLoop::fail_until_dismissed() {
  while (!dismissed_.load() || !queue_.is_empty()) {
    static_cast<void>(serve());
    static_cast<void>(wait(-1, Instant::max()));
  }
}

// What asyncio has forgotten without an end: a coroutine that swallows its cancellation.
void AsyncLoop::settle_what_is_left() {
  {
    const std::lock_guard lock(posted_mutex_);
    takes_posts_ = false;
  }
  run_posted();
  while (first_ != nullptr) {
    CoroutineTask& task = *first_;
    task.driver_->task = nullptr;
    if (task.state_.claim(Ending::failed)) {
      task.state_.fail({.code = Errc::stuck,
                        .message = "it went on after it was cancelled, and its loop was ended"});
    }
    count_end(task);
  }
}

// ---- Its work ----

bool AsyncLoop::serve() {
  held_up_.store(false, std::memory_order_relaxed);
  run_posted();
  unsigned begun = 0;
  while (Shared<TaskState> task = queue_.pop()) {
    begin(std::move(task));
    if (++begun == tasks_per_turn) return has_work();
  }
  return false;
}

void AsyncLoop::run_posted() {
  if (!has_posted_.load()) return;
  std::vector<std::function<void()>> posted;
  {
    const std::lock_guard lock(posted_mutex_);
    posted.swap(posted_);
    has_posted_.store(false);
  }
  for (const auto& function : posted) function();
}

bool AsyncLoop::has_work() { return has_posted_.load() || !queue_.is_empty(); }

bool AsyncLoop::wait(int descriptor, Instant until) {
  std::array<pollfd, 2> watched{{{bell_, POLLIN, 0}, {descriptor, POLLIN, 0}}};
  if (until == Instant{}) {
    ::poll(&watched[1], 1, 0);
    return watched[1].revents != 0;
  }
  asleep_.store(true);
  if (has_work()) {
    asleep_.store(false);
    return false;
  }
  PyThreadState* const state = PyEval_SaveThread();
  const Duration rest = until == Instant::max() ? Duration::max() : until - SystemClock().now();
  const timespec timeout = as_timespec(Instant{std::max(rest, Duration::zero())});
  ::ppoll(watched.data(), watched.size(), until == Instant::max() ? nullptr : &timeout, nullptr);
  if (!asleep_.exchange(false)) {
    std::uint64_t rings = 0;
    static_cast<void>(::read(bell_, &rings, sizeof rings));
  }
  const Instant asked = SystemClock().now();
  MainThread::take_gil(state);
  counts_.gil_wait.record(SystemClock().now() - asked);
  Graveyard::clear();
  return watched[1].revents != 0;
}

void AsyncLoop::begin(Shared<TaskState> task) {
  CoroutineTask& code = *task->coroutine;
  if (asyncio_.is_open() && !code.belongs_on_loop(task)) {
    load_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  code.loop_.store(this, std::memory_order_release);
  if (!task->start()) {
    load_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  static_cast<void>(task.release());  // Among those that have begun, until count_end().
  code.next_ = std::exchange(first_, &code);
  if (code.next_ != nullptr) code.next_->previous_ = &code;
  counts_.started.add(1);
  observer_.on_taken(code.state_);
  if (code.state_.stands_for > 0) {
    code.began_ = SystemClock().now();
    counts_.queue_wait.record(code.began_ - code.state_.submitted_at, code.state_.stands_for);
  }
  if (const auto started = asyncio_.is_open() ? start_coroutine(code) : Result<void>(failure_);
      !started.ok()) {
    if (code.state_.claim(Ending::failed)) code.state_.fail(started.error());
    count_end(code);
  }
}

Result<void> AsyncLoop::start_coroutine(CoroutineTask& task) {
  const auto coroutine = task.make();
  if (!coroutine.ok()) return coroutine.error();
  const Reference driver = drive(driver_type_.get(), coroutine->get(), *this, task);
  if (!driver) return error_of_exception();
  task.driver_ = reinterpret_cast<CoroutineDriver*>(driver.get());
  // Its first step may be its last, and the task be gone then.
  task.state_.add_owner();
  const Shared<TaskState> kept(&task.state_);
  const Reference context = task.context();
  Reference asyncio_task = asyncio_.start(driver.get(), context.get());
  if (asyncio_task) {
    if (task.driver_ != nullptr) task.asyncio_task_ = asyncio_task.release();
    return {};
  }
  task.driver_->task = nullptr;
  return error_of_exception();
}

// ---- Steps ----

void AsyncLoop::enter(CoroutineTask& task) {
  running_.store(&task.state_, std::memory_order_release);
}

void AsyncLoop::leave() {
  const InterruptionLock lock(interruption_mutex_);
  // It must not strike what runs here next, nor asyncio.
  if (interrupted_) clear_interruption(python_id_);
  interrupted_ = false;
  running_.store(nullptr, std::memory_order_release);
}

CoroutineEnd AsyncLoop::end(CoroutineTask& task, PyObject* value) {
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

void AsyncLoop::count_end(CoroutineTask& task) {
  if (task.previous_ != nullptr) {
    task.previous_->next_ = task.next_;
  } else {
    first_ = task.next_;
  }
  if (task.next_ != nullptr) task.next_->previous_ = task.previous_;
  task.next_ = task.previous_ = nullptr;
  task.driver_ = nullptr;
  const Reference asyncio_task = Reference::steal(std::exchange(task.asyncio_task_, nullptr));
  const Shared<TaskState> state(&task.state_);
  state->mark_over();
  switch (state->ending()) {
    case Ending::executed: counts_.executed.add(1); break;
    case Ending::failed: counts_.failed.add(1); break;
    case Ending::cancelled: counts_.cancelled.add(1); break;
    case Ending::timed_out: counts_.timed_out.add(1); break;
  }
  if (state->stands_for > 0)
    counts_.execution.record(SystemClock().now() - task.began_, state->stands_for);
  load_.fetch_sub(1, std::memory_order_relaxed);
  observer_.on_ended(*state);
}

}  // namespace unirun::python
