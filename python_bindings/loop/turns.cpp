#include "python_bindings/loop/turns.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <utility>

#include "framework/clock.h"
#include "python_bindings/loop/exception.h"
#include "python_bindings/loop/handle.h"
#include "python_bindings/loop/loop_core.h"

namespace unirun::bindings {
namespace {

// The selector is asked again after so many calls at the latest, and never more often than once a
// round: a system call costs as much as several callbacks.
constexpr std::size_t calls_between_polls = 32;

const SystemClock& system_clock() {
  static const SystemClock clock;
  return clock;
}

constexpr double never = std::numeric_limits<double>::infinity();

// Rounded up: asyncio promises never to call early.
Instant instant_of(double seconds) {
  constexpr double largest = 9.2e18;
  const double nanoseconds = std::ceil(seconds * 1e9);
  if (!(nanoseconds < largest)) return Instant::max();
  return Instant{Duration{static_cast<Duration::rep>(std::max(nanoseconds, 0.0))}};
}

PyObject* object(LoopCore& loop) { return &loop.ob_base; }

Reference call_method(PyObject* self, const char* name, PyObject* argument) {
  const Reference method = Reference::steal(PyUnicode_InternFromString(name));
  return Reference::steal(method ? PyObject_CallMethodOneArg(self, method.get(), argument)
                                 : nullptr);
}

// The keys of the standard library's EpollSelector, which is asked without its Python code; nothing
// for any other selector.
Reference keys_of(PyObject* selector) {
  const Reference module = Reference::steal(PyImport_ImportModule("selectors"));
  const Reference type =
      Reference::steal(module ? PyObject_GetAttrString(module.get(), "EpollSelector") : nullptr);
  if (type && reinterpret_cast<PyObject*>(Py_TYPE(selector)) == type.get()) {
    Reference keys = Reference::steal(PyObject_GetAttrString(selector, "_fd_to_key"));
    if (keys && PyDict_CheckExact(keys.get())) return keys;
  }
  PyErr_Clear();
  return {};
}

}  // namespace

double monotonic_seconds() {
  return static_cast<double>(system_clock().now().time_since_epoch().count()) / 1e9;
}

// ---- What is to be called ----

void Turns::call_soon(Reference handle) {
  ready_.push(std::move(handle));
  if (idle_.load()) woken_.store(true);
}

void Turns::call_soon_threadsafe(Reference handle) {
  ready_.push(std::move(handle));
  wake();
}

// While the loop works it looks by itself before it waits: one wake a burst, and none if it is
// awake.
void Turns::wake() {
  if (!idle_.load() || woken_.exchange(true) || event_loop_ == nullptr) return;
  event_loop_->wake();
}

void Turns::call_at(double when, Reference handle) {
  timers_.push(std::isnan(when) ? 0.0 : when, std::move(handle));
  if (idle_.load()) woken_.store(true);  // The alarm may have to be set anew.
}

void Turns::clear() {
  ready_.clear();
  timers_.clear();
  selector_ = {};
  keys_ = {};
  failure_ = {};
}

int Turns::traverse(visitproc visit, void* arg) const {
  Py_VISIT(selector_.get());
  Py_VISIT(keys_.get());
  Py_VISIT(failure_.get());
  if (const int result = ready_.traverse(visit, arg); result != 0) return result;
  return timers_.traverse(visit, arg);
}

// ---- Alone and attached ----

bool Turns::open(EventLoop& event_loop) {
  if (event_loop_ == &event_loop) return true;
  selector_ = Reference::steal(PyObject_GetAttrString(object(loop_), "_selector"));
  if (!selector_) return false;
  epoll_ = PyObject_AsFileDescriptor(selector_.get());
  if (epoll_ < 0) return false;
  keys_ = keys_of(selector_.get());
  Result<Watch> watch =
      event_loop.try_watch(epoll_, Interest::readable, [this](Interest) { events_wait_ = true; });
  if (!watch) {
    PyErr_Format(PyExc_RuntimeError, "the selector of %R: %s", object(loop_),
                 watch.error().message.c_str());
    return false;
  }
  epoll_watch_ = *std::move(watch);
  event_loop_ = &event_loop;
  return true;
}

bool Turns::run() {
  if (event_loop_ == nullptr) {
    own_ = std::make_unique<EventLoop>(system_clock());
    owner_process_ = getpid();
  }
  if (!open(own_ ? *own_ : *event_loop_)) return false;
  events_wait_ = true;  // As asyncio does: what has happened comes before what is ready.
  more_ = true;
  event_loop_->set_turn_hook(this);
  event_loop_->run();
  event_loop_->set_turn_hook(nullptr);
  if (failure_) return raise_exception(std::move(failure_)), false;
  return true;
}

bool Turns::attach(EventLoop& host) {
  if (!open(host)) return false;
  attached_ = true;
  events_wait_ = true;
  more_ = true;
  host.set_turn_hook(this);
  return true;
}

void Turns::detach() {
  attached_ = false;
  idle_.store(false);
  event_loop_->set_turn_hook(nullptr);
}

void Turns::close() {
  idle_.store(false);
  if (owner_process_ != 0 && owner_process_ != getpid()) {
    // A forked child: ending a watch would end the parent's.
    (void)new Watch(std::move(epoll_watch_));
    (void)own_.release();
  }
  epoll_watch_.reset();
  if (event_loop_ != nullptr) event_loop_->cancel_timer(std::exchange(alarm_, TimerId::none));
  event_loop_ = nullptr;
  own_.reset();
}

// ---- A turn ----

bool Turns::has_work() { return woken_.exchange(false) || events_wait_ || alarm_rang_ || more_; }

AfterTurn Turns::before_wait() noexcept {
  if (!has_work()) return AfterTurn::wait;
  if (attached_) {
    const PyGILState_STATE gil = PyGILState_Ensure();
    const AfterTurn after = turn_with_gil();
    PyGILState_Release(gil);
    return after;
  }
  if (released_ != nullptr) PyEval_RestoreThread(std::exchange(released_, nullptr));
  const AfterTurn after = turn_with_gil();
  if (after == AfterTurn::wait) released_ = PyEval_SaveThread();
  return after;
}

AfterTurn Turns::turn_with_gil() {
  idle_.store(false);
  if (!call_what_is_ready()) {
    if (!attached_) {
      failure_ = take_exception();
      return AfterTurn::leave;
    }
    PyErr_WriteUnraisable(object(loop_));
  }
  if (!attached_ && loop_.stopping) return AfterTurn::leave;
  set_alarm();
  idle_.store(true);  // From here on others wake us; what they added before is seen now.
  more_ = ready_.size() > 0;
  if (!more_) return AfterTurn::wait;
  idle_.store(false);
  return AfterTurn::go_on;
}

bool Turns::call_what_is_ready() {
  if (PyErr_CheckSignals() < 0) return false;
  if (std::exchange(events_wait_, false) && !collect_events()) return false;
  alarm_rang_ = false;
  std::size_t called = 0;
  do {
    collect_timers();
    // One round: what these calls add belongs to the next one.
    for (std::size_t left = ready_.size(); left > 0; --left, ++called) {
      const Reference handle = ready_.pop();
      if (handle && !call(handle.get())) return false;
    }
  } while (!loop_.stopping && called < calls_between_polls && ready_.size() > 0);
  return true;
}

bool Turns::call(PyObject* handle) {
  if (!is_plain_handle(handle)) return call_foreign(handle);
  if (is_cancelled(handle)) return true;
  const Reference result =
      loop_.debug ? call_method(object(loop_), "_run_in_debug", handle) : call_handle(handle);
  return result || report(handle);
}

// Not of a class that we know: as asyncio does it.
bool Turns::call_foreign(PyObject* handle) {
  const Reference cancelled = Reference::steal(PyObject_GetAttrString(handle, "_cancelled"));
  const int skip = cancelled ? PyObject_IsTrue(cancelled.get()) : -1;
  if (skip > 0) return true;
  const Reference result =
      Reference::steal(skip == 0 ? PyObject_CallMethod(handle, "_run", nullptr) : nullptr);
  return result || report(handle);
}

// What a callback raised goes to the loop's exception handler; what is to end the program leaves,
// unless the loop is a guest: then the host decides about ends.
bool Turns::report(PyObject* handle) {
  const bool ends =
      PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
  if (ends && !attached_) return false;
  const Reference exception = take_exception();
  const Reference reported = Reference::steal(
      PyObject_CallMethod(object(loop_), "_callback_failed", "OO", handle, exception.get()));
  if (!reported && attached_) PyErr_WriteUnraisable(handle);
  return reported || attached_;
}

void Turns::collect_timers() {
  if (timers_.empty()) return;
  constexpr double resolution = 1e-9;
  const double now = monotonic_seconds() + resolution;
  while (Reference handle = timers_.take_due(now)) ready_.push(std::move(handle));
}

void Turns::set_alarm() {
  const double next = timers_.next();
  if (next == alarm_time_) return;
  event_loop_->cancel_timer(std::exchange(alarm_, TimerId::none));
  alarm_time_ = next;
  if (next == never) return;
  alarm_ = event_loop_->start_timer(instant_of(next), [this] {
    alarm_time_ = never;
    alarm_rang_ = true;
  });
}

// ---- What the selector has seen ----

bool Turns::collect_events() {
  if (!keys_) return collect_events_by_python();
  std::array<epoll_event, 256> seen;  // What does not fit is there the next time.
  const int count = epoll_wait(epoll_, seen.data(), static_cast<int>(seen.size()), 0);
  if (count < 0 && errno != EINTR) return PyErr_SetFromErrno(PyExc_OSError) != nullptr;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = seen[static_cast<std::size_t>(i)];
    const Reference descriptor = Reference::steal(PyLong_FromLong(event.data.fd));
    if (!descriptor) return false;
    PyObject* key = PyDict_GetItemWithError(keys_.get(), descriptor.get());
    if (key == nullptr && PyErr_Occurred() != nullptr) return false;
    if (key == nullptr) continue;
    const Reference kept = Reference::borrow(key);
    if (!collect(key, event.events)) return false;
  }
  return true;
}

// As selectors.EpollSelector.select() reads events, and asyncio a key: (file, descriptor, events,
// (reader, writer)).
bool Turns::collect(PyObject* key, unsigned events) {
  const long interest = PyLong_AsLong(PyTuple_GET_ITEM(key, 2));
  const Reference handles = Reference::borrow(PyTuple_GET_ITEM(key, 3));
  if (!PyTuple_Check(handles.get()) || PyTuple_GET_SIZE(handles.get()) != 2)
    return collect_events_by_python();
  constexpr long read = 1;
  constexpr long write = 2;
  const bool readable = (events & ~unsigned{EPOLLOUT}) != 0 && (interest & read) != 0;
  const bool writable = (events & ~unsigned{EPOLLIN}) != 0 && (interest & write) != 0;
  return (!readable || collect(key, PyTuple_GET_ITEM(handles.get(), 0), "_remove_reader")) &&
         (!writable || collect(key, PyTuple_GET_ITEM(handles.get(), 1), "_remove_writer"));
}

bool Turns::collect(PyObject* key, PyObject* handle, const char* remove) {
  if (handle == Py_None) return true;
  if (is_plain_handle(handle) && is_cancelled(handle)) {
    return static_cast<bool>(call_method(object(loop_), remove, PyTuple_GET_ITEM(key, 0)));
  }
  ready_.push(Reference::borrow(handle));
  return true;
}

bool Turns::collect_events_by_python() {
  const Reference seen = Reference::steal(PyObject_CallMethod(selector_.get(), "select", "i", 0));
  return seen && call_method(object(loop_), "_process_events", seen.get());
}

}  // namespace unirun::bindings
