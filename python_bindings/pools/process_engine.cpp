#include "python_bindings/pools/process_engine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "framework/clock.h"
#include "python_bindings/exception.h"
#include "python_bindings/gil.h"

namespace unirun::bindings {
namespace {

// How long who waits lazily sleeps before it looks by itself, and how much work a worker may have
// in advance.
constexpr Duration lazy_time = std::chrono::microseconds(200);
constexpr std::size_t smallest_window = 2;
constexpr std::size_t largest_window = 512;
constexpr std::size_t least_room = 64U << 10;
constexpr std::size_t most_functions = 1024;

Instant now() { return SystemClock().now(); }

void close_one(int& number) {
  if (number >= 0) ::close(number);
  number = -1;
}

int shared_file(const char* name, std::size_t size) {
  int file = ::memfd_create(name, MFD_CLOEXEC);
  if (file >= 0 && ::ftruncate(file, static_cast<off_t>(size)) != 0) close_one(file);
  return file;
}

// One that pickles to its name: whoever has it once has it for good.
bool is_named_function(PyObject* callable) {
  if (PyFunction_Check(callable) || PyType_Check(callable)) return true;
  if (!PyCFunction_CheckExact(callable)) return false;
  PyObject* const self = PyCFunction_GET_SELF(callable);
  return self == nullptr || PyModule_Check(self);
}

}  // namespace

int ProcessTask::traverse(visitproc visit, void* arg) const {
  Py_VISIT(future.get());
  Py_VISIT(callable.get());
  Py_VISIT(arguments.get());
  Py_VISIT(keywords.get());
  return 0;
}

ProcessWorker::ProcessWorker(std::uint64_t number, int file)
    : id(number),
      memory(file, worker_memory_size),
      tasks(memory.start() == nullptr ? nullptr : &words()->tasks, memory.start() + words_size),
      results(memory.start() == nullptr ? nullptr : &words()->results,
              memory.start() + words_size + ring_capacity) {}

void ProcessWorker::close_ends() {
  close_one(life);
  close_one(socket);
}

ProcessEngine::ProcessEngine(PyObject* self, PyTypeObject* future_class, PyObject* loads,
                             PyObject* refuse_pickle)
    : self_(self),
      future_class_(
          reinterpret_cast<PyTypeObject*>(Py_NewRef(reinterpret_cast<PyObject*>(future_class)))),
      loads_(Reference::borrow(loads)),
      refuse_pickle_(Reference::borrow(refuse_pickle)) {}

ProcessEngine::~ProcessEngine() {
  close();
  Py_DECREF(reinterpret_cast<PyObject*>(future_class_));
}

bool ProcessEngine::init(PyObject* make_pickler, bool reuse) {
  if (!encoder_.init(Py_TYPE(self_), make_pickler, reuse)) return false;
  file_ = shared_file("unirun-pool", words_size);
  event_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (file_ >= 0) memory_ = std::make_unique<SharedMemory>(file_, words_size);
  if (event_ < 0 || timer_ < 0 || memory_ == nullptr || memory_->start() == nullptr) {
    PyErr_SetFromErrno(PyExc_OSError);
    return false;
  }
  return true;
}

// ---- Calls ----

PyObject* ProcessEngine::submit(PyObject* callable, Reference arguments, Reference keywords,
                                Duration timeout) {
  Future* const future = make_future(future_class_, reinterpret_cast<Completer*>(self_));
  if (future == nullptr) return nullptr;
  auto* const object = reinterpret_cast<PyObject*>(future);
  ProcessTask task;
  task.future = Reference::borrow(object);
  task.callable = Reference::borrow(callable);
  task.arguments = std::move(arguments);
  task.keywords = std::move(keywords);
  task.id = ++last_task_;
  task.timeout = timeout;
  if (statistics_.times_next(queue_.size())) task.queued_at = now();
  statistics_.count(&Statistics::submitted);
  queue_.push_back(std::move(task));
  // While more than one waits no worker has room: whoever finds a result sends them.
  if (queue_.size() == 1) {
    Wakes wakes;
    dispatch(wakes);
  }
  return object;
}

std::size_t ProcessEngine::pending() const {
  return queue_.size() + in_flight_ + deliveries_.size();
}

// An idle worker first; else the one with the least to do that may have more.
ProcessWorker* ProcessEngine::choose(const ProcessTask& task) const {
  ProcessWorker* best = nullptr;
  for (const auto& worker : workers_) {
    if (!worker->attached || worker->told_dead) continue;
    const std::size_t calls = worker->calls.size();
    if (calls == 0) return worker.get();
    if (task.timeout != Duration{} || worker->deadline != Instant{} || calls >= worker->window ||
        worker->tasks.room() < least_room)
      continue;
    if (best == nullptr || calls < best->calls.size()) best = worker.get();
  }
  return best;
}

std::uint32_t ProcessEngine::index_of(PyObject* callable) {
  if (const auto known = function_indices_.find(callable); known != function_indices_.end())
    return known->second;
  if (functions_.size() == most_functions || !is_named_function(callable)) return no_function;
  const auto index = static_cast<std::uint32_t>(functions_.size());
  functions_.push_back(Reference::borrow(callable));
  function_indices_.emplace(callable, index);
  return index;
}

// Into parcel_. False: an exception is set. Runs Python code.
bool ProcessEngine::encode(const ProcessTask& task, std::uint32_t& function) {
  function = encoder_.names_functions() ? index_of(task.callable.get()) : no_function;
  PyObject* const keywords = task.keywords ? task.keywords.get() : Py_None;
  if (function == no_function) {
    const Reference call =
        Reference::steal(PyTuple_Pack(3, task.callable.get(), task.arguments.get(), keywords));
    return call && encoder_.pickle(call.get(), parcel_);
  }
  if (keywords == Py_None)
    return parcel_.set_plain_arguments(task.arguments.get()) ||
           encoder_.pickle(task.arguments.get(), parcel_);
  const Reference call = Reference::steal(PyTuple_Pack(2, task.arguments.get(), keywords));
  return call && encoder_.pickle(call.get(), parcel_);
}

// Tells a worker what this function is. False: an exception is set. Runs Python code.
bool ProcessEngine::introduce(ProcessWorker& worker, std::uint32_t function) {
  if (function == no_function || (function < worker.functions.size() && worker.functions[function]))
    return true;
  if (!encoder_.pickle(functions_[function].get(), function_parcel_)) return false;
  Frame head;
  head.kind = FrameKind::define;
  head.function = function;
  const Parcel::Sent sent = function_parcel_.send(head, worker.tasks, worker.socket, false);
  function_parcel_.clear();
  if (sent == Parcel::Sent::error) return false;
  if (sent == Parcel::Sent::yes) {
    if (worker.functions.size() <= function) worker.functions.resize(function + 1);
    worker.functions[function] = true;
  }
  return true;
}

// Sends what waits to workers that may have it. One thread at a time: pickling runs Python code,
// and the order of calls is to stay.
void ProcessEngine::dispatch(Wakes& wakes) {
  if (dispatching_ || closed_) return;
  dispatching_ = true;
  while (!queue_.empty() && choose(queue_.front()) != nullptr) {
    ProcessTask task = std::move(queue_.front());
    queue_.pop_front();
    if (!task.started && !start_future(task.target(), wakes)) {
      if (PyErr_Occurred() != nullptr) PyErr_WriteUnraisable(task.future.get());
      statistics_.count(&Statistics::cancelled);
      continue;
    }
    task.started = true;
    if (!send(task, wakes)) break;
  }
  dispatching_ = false;
  wake_workers();
}

// False: it is first in the queue again, for nobody can take it now.
bool ProcessEngine::send(ProcessTask& task, Wakes& wakes) {
  std::uint32_t function = no_function;
  bool written = encode(task, function);
  Parcel::Sent sent = Parcel::Sent::no_room;
  std::shared_ptr<ProcessWorker> worker;
  if (written && !closed_) {  // Chosen now: while Python ran, workers may have come and gone.
    if (ProcessWorker* const chosen = choose(task); chosen != nullptr) worker = find(chosen->id);
  }
  if (worker != nullptr) {
    written = introduce(*worker, function);
    const bool known = function == no_function ||
                       (function < worker->functions.size() && worker->functions[function]);
    if (written && known && worker->attached) {
      Frame head;
      head.kind = FrameKind::call;
      head.function = function;
      head.has_keywords = static_cast<bool>(task.keywords);
      head.task = task.id;
      sent = parcel_.send(head, worker->tasks, worker->socket, false);
    }
  }
  parcel_.clear();
  if (!written || sent == Parcel::Sent::error) {
    refuse(task, wakes);
    return true;
  }
  if (sent == Parcel::Sent::no_room || !worker->attached) {
    queue_.push_front(std::move(task));
    return false;
  }
  task.frame = worker->tasks.last();
  if (task.timeout != Duration{}) {
    worker->deadline = now() + task.timeout;
    if (manager_polls_) wake_manager();
  }
  worker->calls.push_back(std::move(task));
  worker->to_be_woken = true;
  ++in_flight_;
  statistics_.tell_change();
  return true;
}

// What cannot be pickled fails by the exception that is set, and nothing else does.
void ProcessEngine::refuse(ProcessTask& task, Wakes& wakes) {
  Reference raised = take_exception();
  Reference told = Reference::steal(PyObject_CallOneArg(refuse_pickle_.get(), raised.get()));
  if (!told) {
    PyErr_WriteUnraisable(task.future.get());
    told = std::move(raised);
  }
  statistics_.count(&Statistics::failed);
  if (task.target()->callbacks == nullptr) {
    fail_future(task.target(), told.release(), wakes);
    return;
  }
  deliveries_.push_back({std::move(task.future), std::move(told), true});
  wake_manager();
}

void ProcessEngine::wake_workers() {
  for (const auto& worker : workers_) {
    if (!worker->to_be_woken) continue;
    worker->to_be_woken = false;
    std::atomic<std::uint32_t>& parked = worker->words()->tasks.reader_parked;
    if (claim_wake(parked)) futex_wake(parked, 1, FutexScope::shared);
  }
}

void ProcessEngine::cancel_queued() {
  std::deque<ProcessTask> queued;
  queued.swap(queue_);
  std::deque<ProcessTask> kept;
  Wakes wakes;
  for (ProcessTask& task : queued) {
    if (task.started || !cancel_future(task.target(), wakes)) {
      kept.push_back(std::move(task));
    } else {
      statistics_.count(&Statistics::cancelled);
    }
  }
  for (; !kept.empty(); kept.pop_back()) queue_.push_front(std::move(kept.back()));
}

PyObject* ProcessEngine::abandon() {
  std::deque<ProcessTask> tasks;
  for (const auto& worker : workers_) {
    for (ProcessTask& task : worker->calls) tasks.push_back(std::move(task));
    worker->calls.clear();
    worker->deadline = {};
  }
  in_flight_ = 0;
  for (ProcessTask& task : queue_) tasks.push_back(std::move(task));
  queue_.clear();
  Reference futures = Reference::steal(PyList_New(0));
  for (const ProcessTask& task : tasks) {
    if (!futures || PyList_Append(futures.get(), task.future.get()) != 0) return nullptr;
    statistics_.count(&Statistics::failed);
  }
  return futures.release();
}

// ---- Results ----

bool ProcessEngine::drain(Wakes& wakes) {
  if (draining_ || closed_) return false;
  draining_ = true;
  bool progress = false;
  for (std::size_t at = 0; at < workers_.size() && !damage; ++at) {
    const std::shared_ptr<ProcessWorker> worker = workers_[at];  // While Python runs it may go.
    progress |= drain_worker(*worker, wakes);
  }
  draining_ = false;
  if (progress) drains_.fetch_add(1, std::memory_order_relaxed);
  return progress;
}

bool ProcessEngine::drain_worker(ProcessWorker& worker, Wakes& wakes) {
  bool progress = false;
  while (Frame* const frame = worker.results.front()) {
    const bool failed = frame->kind == FrameKind::failure;
    if ((!failed && frame->kind != FrameKind::result) || worker.calls.empty() ||
        worker.calls.front().id != frame->task) {
      PyErr_SetString(PyExc_EOFError, "a worker process has sent a result that nobody asked for");
      damage = take_exception();
      break;
    }
    Reference value = Reference::steal(decode(frame, worker.socket, loads_.get(), Py_TYPE(self_)));
    if (!value) {
      damage = take_exception();
      break;
    }
    if (worker.calls.empty()) break;  // Abandoned while Python ran.
    ProcessTask task = std::move(worker.calls.front());
    worker.calls.pop_front();
    --in_flight_;
    account(worker, task, *frame, failed);
    worker.results.pop();
    progress = true;
    if (task.target()->callbacks != nullptr) {
      deliveries_.push_back({std::move(task.future), std::move(value), failed});
    } else if (failed) {
      fail_future(task.target(), value.release(), wakes);
    } else {
      finish_future(task.target(), value.release(), wakes);
    }
  }
  if (!damage && worker.results.damaged()) {
    PyErr_SetString(PyExc_EOFError, "a worker process has sent something that is no result");
    damage = take_exception();
  }
  std::atomic<std::uint32_t>& blocked = worker.words()->results.writer_parked;
  if (progress && claim_wake(blocked)) futex_wake(blocked, 1, FutexScope::shared);
  return progress;
}

void ProcessEngine::account(ProcessWorker& worker, const ProcessTask& task, const Frame& frame,
                            bool failed) {
  statistics_.count(failed ? &Statistics::failed : &Statistics::completed);
  ++idle_tokens;
  worker.deadline = {};
  const Duration ran{std::max<std::int64_t>(frame.ended_ns - frame.started_ns, 1)};
  worker.run_time = std::max((worker.run_time * 7 + ran) / 8, ran / 4);
  const auto affordable =
      static_cast<std::size_t>(lazy_time / std::max(worker.run_time, Duration{1}));
  worker.window =
      std::clamp(affordable, smallest_window, std::min(2 * worker.window, largest_window));
  if (task.queued_at == Instant{}) return;
  statistics_.ran.add(ran);
  statistics_.waited.add(Duration{frame.started_ns} - task.queued_at.time_since_epoch());
}

// In the manager's thread.
void ProcessEngine::deliver(Wakes& wakes) {
  bool delivered = false;
  while (!deliveries_.empty()) {
    Delivery next = std::move(deliveries_.front());
    deliveries_.pop_front();
    auto* const future = reinterpret_cast<Future*>(next.future.get());
    (next.failed ? fail_future : finish_future)(future, next.value.release(), wakes);
    delivered = true;
  }
  if (delivered) wakes.ring();
}

// Calls that stand behind a slow one, while another worker has nothing to do, are taken back. A
// worker takes a call by its claim, and the frame of one that it has not finished is still there.
void ProcessEngine::recall() {
  if (!queue_.empty() || dispatching_) return;
  const bool idle = std::any_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->attached && worker->calls.empty();
  });
  if (!idle) return;
  for (const auto& worker : workers_) {
    while (worker->calls.size() > 1 && worker->results.empty()) {
      Claim open = Claim::open;
      if (!worker->calls.back().frame->claim.compare_exchange_strong(open, Claim::recalled)) break;
      queue_.push_front(std::move(worker->calls.back()));
      worker->calls.pop_back();
      --in_flight_;
    }
    if (!queue_.empty()) worker->window = smallest_window;
  }
}

// ---- Workers ----

std::shared_ptr<ProcessWorker> ProcessEngine::find(std::uint64_t id) const {
  for (const auto& worker : workers_)
    if (worker->id == id) return worker;
  return nullptr;
}

PyObject* ProcessEngine::open_worker() {
  if (closed_) {
    PyErr_SetString(PyExc_RuntimeError, "this pool is closed");
    return nullptr;
  }
  int memory = shared_file("unirun-worker", worker_memory_size);
  std::array<int, 2> life{-1, -1};
  std::array<int, 2> sockets{-1, -1};
  std::shared_ptr<ProcessWorker> worker;
  if (memory >= 0 && ::pipe2(life.data(), O_CLOEXEC) == 0 &&
      ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) == 0)
    worker = std::make_shared<ProcessWorker>(last_worker_ + 1, memory);
  const int pool = worker == nullptr ? -1 : ::fcntl(file_, F_DUPFD_CLOEXEC, 0);
  const int event = worker == nullptr ? -1 : ::fcntl(event_, F_DUPFD_CLOEXEC, 0);
  if (worker == nullptr || worker->memory.start() == nullptr || pool < 0 || event < 0) {
    PyErr_SetFromErrno(PyExc_OSError);
    for (int number : {memory, life[0], life[1], sockets[0], sockets[1], pool, event})
      close_one(number);
    return nullptr;
  }
  worker->life = life[1];
  worker->socket = sockets[0];
  ++last_worker_;
  workers_.push_back(std::move(worker));
  return Py_BuildValue("(Kiiiii)", last_worker_, pool, memory, event, life[0], sockets[1]);
}

void ProcessEngine::attach(std::uint64_t id, int sentinel) {
  const std::shared_ptr<ProcessWorker> worker = find(id);
  if (worker == nullptr) return;
  worker->sentinel = sentinel;
  worker->attached = true;
  Wakes wakes;
  dispatch(wakes);
  if (manager_polls_) wake_manager();  // It has one more to watch.
}

PyObject* ProcessEngine::bury(std::uint64_t id) {
  while (draining_) {  // A thread reads results and has let go of the GIL.
    without_gil([] { return ::poll(nullptr, 0, 1); });
  }
  const std::shared_ptr<ProcessWorker> worker = find(id);
  if (worker == nullptr) Py_RETURN_NONE;
  Wakes wakes;
  draining_ = true;
  if (worker->attached) drain_worker(*worker, wakes);  // What it has finished counts.
  draining_ = false;
  worker->attached = false;
  worker->close_ends();
  std::erase_if(workers_, [id](const auto& one) { return one->id == id; });
  Reference crashed;
  for (; !worker->calls.empty(); worker->calls.pop_back(), --in_flight_) {
    ProcessTask& task = worker->calls.back();
    if (task.frame->claim.load() == Claim::taken && worker->results.empty()) {
      crashed = std::move(task.future);
      statistics_.count(&Statistics::failed);
    } else {
      queue_.push_front(std::move(task));
    }
  }
  return crashed ? crashed.release() : Py_NewRef(Py_None);
}

void ProcessEngine::stop_workers() {
  Parcel nothing;
  Frame head;
  head.kind = FrameKind::stop;
  for (const auto& worker : workers_) {
    if (!worker->attached ||
        nothing.send(head, worker->tasks, worker->socket, false) != Parcel::Sent::yes)
      continue;
    worker->to_be_woken = true;
  }
  wake_workers();
}

// ---- Sleeping: in result() ----

int ProcessEngine::wait(Future* future, const Instant* deadline) {
  if (closed_ || damage || waiter_present_ || draining_) return sleep_on_future(future, deadline);
  waiter_present_ = true;
  if (manager_polls_) words()->set(Listener::nobody);
  bool stalled = false;
  int outcome = 0;
  while (outcome == 0) {
    Wakes wakes;
    if (drain(wakes)) stalled = false;
    dispatch(wakes);
    if (!deliveries_.empty()) wake_manager();
    if (is_done(future) || damage || closed_ || (deadline != nullptr && now() >= *deadline)) break;
    const bool lazy = !stalled && may_be_lazy();
    const int woken = sleep_as_waiter(future, wakes, lazy, deadline);
    if (woken == EINTR) outcome = PyErr_CheckSignals();
    if (woken == ETIMEDOUT && lazy) {
      stalled = true;
      Wakes more;
      drain(more);
      recall();
    }
  }
  leave_to_manager();
  return outcome;
}

bool ProcessEngine::has_results() const {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // After we have said that we sleep.
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->attached && !worker->results.empty();
  });
}

// Somebody has more than one call: it need not tell of each.
bool ProcessEngine::may_be_lazy() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->calls.size() > 1; });
}

int ProcessEngine::sleep_as_waiter(Future* future, Wakes& wakes, bool lazy,
                                   const Instant* deadline) {
  const Listener listener = lazy ? Listener::lazy_waiter : Listener::waiter;
  words()->set(listener);
  if (has_results()) {
    words()->set(Listener::nobody);
    return 0;
  }
  Instant until = deadline != nullptr ? *deadline : Instant::max();
  if (lazy) until = std::min(until, now() + lazy_time);
  const std::uint32_t before = future->word.fetch_or(waited_for) | waited_for;
  const int woken = without_gil([&] {
    wakes.ring();
    if (before >= (static_cast<std::uint32_t>(FutureState::cancelled) | waited_for)) return 0;
    return futex_wait_either(words()->futex(), static_cast<std::uint32_t>(listener), future->word,
                             before, until == Instant::max() ? nullptr : &until);
  });
  if (!closed_) words()->set(Listener::nobody);
  // The drain that follows completes it under the GIL, and nobody else sleeps on it.
  if (other_waiters_ == 0) future->word.fetch_and(~waited_for);
  return woken;
}

int ProcessEngine::sleep_on_future(Future* future, const Instant* deadline) {
  const std::uint32_t before = future->word.fetch_or(waited_for) | waited_for;
  if (is_done(future)) return 0;
  ++other_waiters_;
  const int woken = without_gil([&] { return futex_wait(future->word, before, deadline); });
  --other_waiters_;
  return woken == EINTR ? PyErr_CheckSignals() : 0;
}

// A result() is over. In a loop over futures the next one follows at once, so the manager is not
// woken for what comes until then.
void ProcessEngine::leave_to_manager() {
  waiter_present_ = false;
  manager_preferred_ = false;
  if (!manager_polls_ || closed_) return;
  const bool over = !is_open && pending() == 0;
  if (other_waiters_ > 0 || !deliveries_.empty() || damage || over) {
    wake_manager();
  } else if (in_flight_ == 0) {
    words()->set(Listener::patient_manager);
  } else {
    words()->set(Listener::lazy_manager);
    arm_timer();
  }
}

// ---- Sleeping: the manager ----

void ProcessEngine::wake_manager() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_, &one, sizeof one);
}

void ProcessEngine::call_for_attention() {
  attention_ = true;
  if (!closed_) wake_manager();
}

void ProcessEngine::expect_manager() {
  manager_preferred_ = true;
  if (closed_ || !words()->replace(Listener::patient_manager, Listener::manager)) return;
  if (has_results()) wake_manager();
}

void ProcessEngine::arm_timer() {
  if (timer_armed_.exchange(true)) return;
  const itimerspec once{{0, 0}, {0, lazy_time.count()}};
  ::timerfd_settime(timer_, 0, &once, nullptr);
}

std::vector<std::uint64_t> ProcessEngine::overdue() const {
  std::vector<std::uint64_t> ids;
  for (const auto& worker : workers_)
    if (worker->deadline != Instant{} && worker->deadline <= now()) ids.push_back(worker->id);
  return ids;
}

PyObject* ProcessEngine::serve() {
  const auto report = [](const char* what, const std::vector<std::uint64_t>& ids) -> PyObject* {
    Reference list = Reference::steal(PyList_New(0));
    for (const std::uint64_t id : ids) {
      const Reference number = Reference::steal(PyLong_FromUnsignedLongLong(id));
      if (!list || !number || PyList_Append(list.get(), number.get()) != 0) return nullptr;
    }
    return list ? Py_BuildValue("(sN)", what, list.release()) : nullptr;
  };
  bool stalled = false;
  for (;;) {
    {
      Wakes wakes;
      const bool progress = drain(wakes);
      if (progress) stalled = false;
      if (progress && !waiter_present_) manager_preferred_ = true;
      dispatch(wakes);
      deliver(wakes);
    }
    const bool over = !is_open && pending() == 0;
    if (std::exchange(attention_, false) || over) return report("attention", {});
    if (damage) return report("damaged", {});
    if (const auto late = overdue(); !late.empty()) return report("overdue", late);
    std::vector<std::uint64_t> died;
    const bool lazy = !stalled && !waiter_present_ && may_be_lazy();
    const Woken woken = poll(lazy, died);
    if (!died.empty()) return report("died", died);
    if (woken == Woken::looked && lazy && !waiter_present_) {
      stalled = true;
      Wakes wakes;
      if (drain(wakes)) stalled = false;
      recall();
    }
    if (PyErr_CheckSignals() != 0) return nullptr;
  }
}

ProcessEngine::Woken ProcessEngine::poll(bool lazy, std::vector<std::uint64_t>& died) {
  if (!waiter_present_) {
    const Listener eager = manager_preferred_ ? Listener::manager : Listener::patient_manager;
    words()->set(lazy ? Listener::lazy_manager : eager);
    if (has_results() || !deliveries_.empty()) {
      words()->set(Listener::nobody);
      return Woken::told;
    }
  }
  std::vector<pollfd> watched{{event_, POLLIN, 0}, {timer_, POLLIN, 0}};
  std::vector<std::uint64_t> ids;
  Instant until = lazy ? now() + lazy_time : Instant::max();
  for (const auto& worker : workers_) {
    if (worker->deadline != Instant{}) until = std::min(until, worker->deadline);
    if (worker->sentinel < 0 || worker->told_dead) continue;
    watched.push_back({worker->sentinel, POLLIN, 0});
    ids.push_back(worker->id);
  }
  manager_polls_ = true;
  const int ready = without_gil([&] {
    std::uint64_t seen = drains_.load();
    for (;;) {
      const Duration rest =
          std::max(until == Instant::max() ? Duration{} : until - now(), Duration{});
      const timespec time{rest.count() / 1'000'000'000, rest.count() % 1'000'000'000};
      const int count = ::ppoll(watched.data(), watched.size(),
                                until == Instant::max() ? nullptr : &time, nullptr);
      if (count <= 0) return count;
      std::uint64_t ignored = 0;
      if (watched[1].revents != 0 && ::read(timer_, &ignored, sizeof ignored) > 0)
        timer_armed_ = false;
      if (watched[0].revents != 0 && ::read(event_, &ignored, sizeof ignored) > 0) return count;
      if (count > 1 || watched[1].revents == 0) return count;
      // The timer alone. While a thread is in result(), or comes back to it, that one looks.
      if (waiter_present_.load()) continue;
      if (const std::uint64_t drains = drains_.load(); drains != seen) {
        seen = drains;
        arm_timer();
        continue;
      }
      return 0;
    }
  });
  manager_polls_ = false;
  if (!waiter_present_ && !closed_) words()->set(Listener::nobody);
  for (std::size_t at = 0; ready > 0 && at < ids.size(); ++at) {
    if (watched[at + 2].revents == 0) continue;
    died.push_back(ids[at]);
    if (const auto worker = find(ids[at])) worker->told_dead = true;
  }
  return ready > 0 ? Woken::told : Woken::looked;
}

// ---- The end ----

// In a forked child: nothing here is ours, and our copies of the ends must not keep workers alive.
void ProcessEngine::after_fork() {
  is_open = false;
  closed_ = true;
  for (const auto& worker : workers_) worker->close_ends();
  close_one(event_);
  close_one(timer_);
  close_one(file_);
}

void ProcessEngine::close() {
  is_open = false;
  closed_ = true;
  for (const auto& worker : workers_) worker->close_ends();
  workers_.clear();
  close_one(event_);
  close_one(timer_);
  close_one(file_);
}

PyObject* ProcessEngine::statistics(std::size_t workers) const {
  return statistics_.as_dict(queue_.size(), in_flight_, workers);
}

int ProcessEngine::traverse(visitproc visit, void* arg) const {
  for (const ProcessTask& task : queue_)
    if (const int stop = task.traverse(visit, arg); stop != 0) return stop;
  for (const auto& worker : workers_)
    for (const ProcessTask& task : worker->calls)
      if (const int stop = task.traverse(visit, arg); stop != 0) return stop;
  for (const Delivery& delivery : deliveries_) {
    Py_VISIT(delivery.future.get());
    Py_VISIT(delivery.value.get());
  }
  for (const Reference& function : functions_) Py_VISIT(function.get());
  Py_VISIT(loads_.get());
  Py_VISIT(refuse_pickle_.get());
  Py_VISIT(damage.get());
  return encoder_.traverse(visit, arg);
}

void ProcessEngine::clear() {
  std::deque<ProcessTask> tasks;
  tasks.swap(queue_);
  for (const auto& worker : workers_) {
    for (ProcessTask& task : worker->calls) tasks.push_back(std::move(task));
    worker->calls.clear();
  }
  in_flight_ = 0;
  std::deque<Delivery> deliveries;
  deliveries.swap(deliveries_);
  function_indices_.clear();
  std::vector<Reference> functions;
  functions.swap(functions_);
  encoder_.clear();
  damage = Reference();
  loads_ = Reference();
  refuse_pickle_ = Reference();
}

}  // namespace unirun::bindings
