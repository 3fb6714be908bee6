#include "python_bindings/pools/process_engine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "framework/clock.h"
#include "python_bindings/exception.h"
#include "python_bindings/gil.h"
#include "python_bindings/pools/process_files.h"

namespace unirun::bindings {
namespace {

constexpr std::size_t most_functions = 1024;

Instant now() { return SystemClock().now(); }

// One that pickles to its name: whoever has it once has it for good.
bool is_named_function(PyObject* callable) {
  if (PyFunction_Check(callable) || PyType_Check(callable)) return true;
  if (!PyCFunction_CheckExact(callable)) return false;
  PyObject* const self = PyCFunction_GET_SELF(callable);
  return self == nullptr || PyModule_Check(self);
}

}  // namespace

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
  watch_event_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (file_ >= 0) memory_ = std::make_unique<SharedMemory>(file_, words_size);
  if (event_ < 0 || watch_event_ < 0 || timer_ < 0 || memory_ == nullptr ||
      memory_->start() == nullptr) {
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
  return unfinished() + deliveries_.size() + condemned_;
}

PyObject* ProcessEngine::calls() {
  struct Call {
    std::uint64_t id;
    Reference future, callable, arguments, keywords;
  };
  std::vector<Call> found;  // All of them first: to make objects may run code that submits.
  const auto add = [&found](const ProcessTask& task) {
    PyObject* const keywords = task.keywords ? task.keywords.get() : Py_None;
    found.push_back({task.id, Reference::borrow(task.future.get()),
                     Reference::borrow(task.callable.get()),
                     Reference::borrow(task.arguments.get()), Reference::borrow(keywords)});
  };
  for (const auto& worker : crew_.workers())
    for (const ProcessTask& task : worker->calls) add(task);
  for (const ProcessTask& task : queue_) add(task);
  Reference list = Reference::steal(PyList_New(0));
  for (const Call& each : found) {
    const Reference call = Reference::steal(
        list ? Py_BuildValue("KOOOO", each.id, each.future.get(), each.callable.get(),
                             each.arguments.get(), each.keywords.get())
             : nullptr);
    if (!call || PyList_Append(list.get(), call.get()) != 0) return nullptr;
  }
  return list.release();
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
  while (!queue_.empty() && crew_.choose(queue_.front()) != nullptr) {
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
  crew_.wake();
}

// False: it is first in the queue again, for nobody can take it now.
bool ProcessEngine::send(ProcessTask& task, Wakes& wakes) {
  std::uint32_t function = no_function;
  bool written = encode(task, function);
  Parcel::Sent sent = Parcel::Sent::no_room;
  std::shared_ptr<ProcessWorker> worker;
  if (written && !closed_) {  // Chosen now: while Python ran, workers may have come and gone.
    if (ProcessWorker* const chosen = crew_.choose(task); chosen != nullptr)
      worker = crew_.find(chosen->id);
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
    if (worker->deadline < watches_until_) call_watcher();
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
  deliver_or_finish(std::move(task.future), std::move(told), true, wakes);
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
  for (const auto& worker : crew_.workers()) {
    for (ProcessTask& task : worker->calls) tasks.push_back(std::move(task));
    worker->calls.clear();
    worker->deadline = {};
  }
  in_flight_ = 0;
  for (ProcessTask& task : queue_) tasks.push_back(std::move(task));
  queue_.clear();
  Reference futures = Reference::steal(PyList_New(0));
  condemned_ += tasks.size();
  for (const ProcessTask& task : tasks) {
    if (!futures || PyList_Append(futures.get(), task.future.get()) != 0) return nullptr;
    statistics_.count(&Statistics::failed);
  }
  return futures.release();
}

void ProcessEngine::fail(PyObject* future, PyObject* error) {
  Wakes wakes;
  if (condemned_ > 0) --condemned_;
  deliver_or_finish(Reference::borrow(future), Reference::borrow(error), true, wakes);
}

// ---- Results ----

bool ProcessEngine::drain(Wakes& wakes) {
  if (draining_ || closed_) return false;
  draining_ = true;
  bool progress = false;
  for (std::size_t at = 0; at < crew_.workers().size() && !damage; ++at) {
    const std::shared_ptr<ProcessWorker> worker =
        crew_.workers()[at];  // While Python runs it may go.
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
    deliver_or_finish(std::move(task.future), std::move(value), failed, wakes);
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

// Callbacks run in the manager's thread, whoever has found the result.
void ProcessEngine::deliver_or_finish(Reference future, Reference value, bool failed,
                                      Wakes& wakes) {
  auto* const target = reinterpret_cast<Future*>(future.get());
  if (target->callbacks == nullptr) {
    (failed ? fail_future : finish_future)(target, value.release(), wakes);
    return;
  }
  deliveries_.push_back({std::move(future), std::move(value), failed});
  if (!draining_) wake_manager();  // Who drains sees to it.
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
  if (!crew_.has_idle()) return;
  for (const auto& worker : crew_.workers()) {
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

PyObject* ProcessEngine::open_worker() {
  if (closed_) {
    PyErr_SetString(PyExc_RuntimeError, "this pool is closed");
    return nullptr;
  }
  int pool = ::fcntl(file_, F_DUPFD_CLOEXEC, 0);
  int event = ::fcntl(event_, F_DUPFD_CLOEXEC, 0);
  if (const auto ends = pool < 0 || event < 0 ? std::nullopt : crew_.open())
    return Py_BuildValue("(Kiiiii)", crew_.last_number(), pool, ends->memory, event, ends->life,
                         ends->socket);
  PyErr_SetFromErrno(PyExc_OSError);
  close_one(pool);
  close_one(event);
  return nullptr;
}

void ProcessEngine::attach(std::uint64_t id, int sentinel) {
  const std::shared_ptr<ProcessWorker> worker = crew_.find(id);
  if (worker == nullptr) return;
  worker->sentinel = sentinel;
  worker->attached = true;
  Wakes wakes;
  dispatch(wakes);
  call_watcher();  // It has one more to watch.
}

PyObject* ProcessEngine::bury(std::uint64_t id) {
  while (draining_) {  // A thread reads results and has let go of the GIL.
    without_gil([] { return ::poll(nullptr, 0, 1); });
  }
  const std::shared_ptr<ProcessWorker> worker = crew_.find(id);
  if (worker == nullptr) Py_RETURN_NONE;
  Wakes wakes;
  draining_ = true;
  if (worker->attached) drain_worker(*worker, wakes);  // What it has finished counts.
  draining_ = false;
  wake_manager();  // For the results of others, which nobody else could read meanwhile.
  worker->attached = false;
  worker->close_ends();
  crew_.remove(id);
  PyObject* crashed = nullptr;
  for (; !worker->calls.empty(); worker->calls.pop_back(), --in_flight_) {
    ProcessTask& task = worker->calls.back();
    if (task.frame->claim.load() == Claim::taken && worker->results.empty()) {
      Py_XDECREF(crashed);
      const double timeout = std::chrono::duration<double>(task.timeout).count();
      ++condemned_;
      crashed = Py_BuildValue("(OOOd)", task.future.get(), task.callable.get(),
                              task.arguments.get(), timeout);
      statistics_.count(&Statistics::failed);
      if (crashed == nullptr) return nullptr;
    } else {
      queue_.push_front(std::move(task));
    }
  }
  return crashed != nullptr ? crashed : Py_NewRef(Py_None);
}

bool ProcessEngine::tolerates_restart() {
  return restarts_.record(now()) == RestartIntensity::Verdict::restart;
}

void ProcessEngine::stop_workers() {
  Parcel nothing;
  Frame head;
  head.kind = FrameKind::stop;
  for (const auto& worker : crew_.workers()) {
    if (!worker->attached ||
        nothing.send(head, worker->tasks, worker->socket, false) != Parcel::Sent::yes)
      continue;
    worker->to_be_woken = true;
  }
  crew_.wake();
}

// ---- The end ----

// In a forked child: nothing here is ours, and our copies of the ends must not keep workers alive.
void ProcessEngine::after_fork() { close_descriptors(); }

void ProcessEngine::close() {
  close_descriptors();
  crew_.clear();
}

void ProcessEngine::close_descriptors() {
  is_open = false;
  closed_ = true;
  crew_.close_ends();
  for (int* const number : {&event_, &watch_event_, &timer_, &file_}) close_one(*number);
}

PyObject* ProcessEngine::statistics(std::size_t workers) const {
  return statistics_.as_dict(queue_.size(), in_flight_, workers);
}

int ProcessEngine::traverse(visitproc visit, void* arg) const {
  for (const ProcessTask& task : queue_)
    if (const int stop = task.traverse(visit, arg); stop != 0) return stop;
  for (const auto& worker : crew_.workers())
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
  for (const auto& worker : crew_.workers()) {
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
