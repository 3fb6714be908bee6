#include "python_bindings/loop/turns.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <utility>

#include "executors/python/interpreter/raise_in_thread.h"
#include "framework/clock.h"
#include "python_bindings/exception.h"
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
  if (idle_.load()) added_.store(true);
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
  if (idle_.load()) added_.store(true);  // The alarm may have to be set anew.
}

void Turns::clear() {
  ready_.clear();
  timers_.clear();
  selector_ = {};
  keys_ = {};
}

int Turns::traverse(visitproc visit, void* arg) const {
  Py_VISIT(selector_.get());
  Py_VISIT(keys_.get());
  if (const int result = ready_.traverse(visit, arg); result != 0) return result;
  return timers_.traverse(visit, arg);
}

// ---- Alone and attached ----

bool Turns::open() {
  if (selector_) return true;
  Reference selector = Reference::steal(PyObject_GetAttrString(object(loop_), "_selector"));
  if (!selector) return false;
  epoll_ = PyObject_AsFileDescriptor(selector.get());
  if (epoll_ < 0) return false;
  keys_ = keys_of(selector.get());
  selector_ = std::move(selector);
  return true;
}

bool Turns::run() {
  if (!open()) return false;
  if (event_loop_ == nullptr) {
    own_ = std::make_unique<EventLoop>(system_clock());
    owner_process_ = getpid();
    event_loop_ = own_.get();
  }
  epoll_event interest{};
  interest.events = EPOLLIN;
  interest.data.fd = event_loop_->descriptor();
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, interest.data.fd, &interest) < 0 && errno != EEXIST) {
    PyErr_SetFromErrno(PyExc_OSError);
    return false;
  }
  const bool fine = run_alone();
  idle_.store(false);
  return fine;
}

bool Turns::run_alone() {
  run_host();            // What was registered with it counts from here on.
  Wait wait = Wait::no;  // As asyncio does: what has happened comes before what is ready.
  for (;;) {
    if (!collect_events(wait)) return false;
    if (std::exchange(host_wants_turn_, false)) run_host();
    if (!call_what_is_ready()) return false;
    if (loop_.stopping) return true;
    if (set_alarm()) run_host();
    host_wants_turn_ = event_loop_->wants_turn();
    wait = host_wants_turn_ || alarm_rang_ ? Wait::no : Wait::until_something_happens;
  }
}

// A loop of our own has nothing but the alarm and the wake; a host's may have anything, and waits
// for anybody.
void Turns::run_host() {
  if (own_) return event_loop_->run_ready();
  Py_BEGIN_ALLOW_THREADS;
  event_loop_->run_ready();
  Py_END_ALLOW_THREADS;
}

bool Turns::attach(EventLoop& host) {
  if (!open()) return false;
  Result<Watch> watch =
      host.try_watch(epoll_, Interest::readable, [this](Interest) { events_wait_ = true; });
  if (!watch) {
    PyErr_Format(PyExc_RuntimeError, "the selector of %R: %s", object(loop_),
                 watch.error().message.c_str());
    return false;
  }
  epoll_watch_ = *std::move(watch);
  event_loop_ = &host;
  thread_ = PyThread_get_thread_ident();
  attached_ = true;
  more_ = true;
  host.set_turn_hook(this);
  return true;
}

void Turns::detach() {
  if (!std::exchange(attached_, false)) return;
  idle_.store(false);
  event_loop_->set_turn_hook(nullptr);
  epoll_watch_.reset();
}

void Turns::close() {
  idle_.store(false);
  if (event_loop_ == nullptr) return;
  if (owner_process_ != 0 && owner_process_ != getpid()) {
    (void)own_.release();  // A forked child: to end it here would end the parent's.
  } else {
    detach();
    event_loop_->cancel_timer(std::exchange(alarm_, TimerId::none));
    if (epoll_ >= 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, event_loop_->descriptor(), nullptr);
  }
  event_loop_ = nullptr;
  own_.reset();
}

// ---- A turn ----

bool Turns::has_work() {
  const bool added = added_.exchange(false);
  const bool woken = woken_.exchange(false);
  return added || woken || events_wait_ || alarm_rang_ || more_;
}

AfterTurn Turns::before_wait() noexcept {
  if (!has_work()) return AfterTurn::wait;
  const PyGILState_STATE gil = PyGILState_Ensure();
  idle_.store(false);
  if ((std::exchange(events_wait_, false) && !collect_events(Wait::no)) || !call_what_is_ready()) {
    PyErr_WriteUnraisable(object(loop_));
  }
  (void)set_alarm();
  idle_.store(true);  // From here on others wake us; what they added before is seen now.
  more_ = ready_.size() > 0;
  PyGILState_Release(gil);
  return more_ ? AfterTurn::go_on : AfterTurn::wait;
}

bool Turns::call_what_is_ready() {
  if (PyErr_CheckSignals() < 0) return false;
  alarm_rang_ = false;
  std::size_t called = 0;
  do {
    collect_timers();
    // One round: what these calls add belongs to the next one.
    for (std::size_t left = ready_.size(); left > 0; --left, ++called) {
      const Reference handle = ready_.pop();
      if (handle && !call(handle.get())) return false;
    }
    // Where there was input there is more: to look again first makes larger batches of it.
  } while (!events_came_ && !loop_.stopping && called < calls_between_polls && ready_.size() > 0);
  return true;
}

bool Turns::call(PyObject* handle) {
  if (!is_plain_handle(handle)) return call_foreign(handle);
  if (is_cancelled(handle)) return true;
  if (!attached_ || occupant_of_ == nullptr) return call_plain(handle);
  const std::shared_ptr<LoopOccupant> occupant = occupant_of_(context_of(handle));
  const LoopSeat::Taken seat(event_loop_->seat(), occupant);
  return call_for(occupant.get(), handle);
}

// What was to be raised in it and has not been is taken back: whoever is called next has not
// deserved it.
bool Turns::call_for(const LoopOccupant* occupant, PyObject* handle) {
  called_for_ = occupant;
  thread_state_ = PyThreadState_Get();
  const bool fine = call_plain(handle);
  called_for_ = nullptr;
  if (std::exchange(struck_, false)) python::raise_in_thread(thread_, nullptr);
  return fine;
}

bool Turns::strike(PyObject* exception) {
  if (python::is_out_of_reach(thread_state_)) return false;
  struck_ = true;
  python::raise_in_thread(thread_, exception);
  return true;
}

bool Turns::call_plain(PyObject* handle) {
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

// Whether it was changed, which the EventLoop learns in its next turn.
bool Turns::set_alarm() {
  const double next = timers_.next();
  if (next == alarm_time_) return false;
  event_loop_->cancel_timer(std::exchange(alarm_, TimerId::none));
  alarm_time_ = next;
  if (next == never) return true;
  alarm_ = event_loop_->start_timer(instant_of(next), [this] {
    alarm_time_ = never;
    alarm_rang_ = true;
  });
  return true;
}

// ---- What the selector has seen ----

bool Turns::collect_events(Wait wait) {
  std::array<epoll_event, 256> seen;  // What does not fit is there the next time.
  constexpr int room = 256;
  int count = 0;
  if (wait == Wait::until_something_happens && PyErr_CheckSignals() < 0) return false;
  idle_.store(true);
  if (wait == Wait::no || woken_.load() || ready_.size() > 0) {
    count = epoll_wait(epoll_, seen.data(), room, 0);
  } else {
    Py_BEGIN_ALLOW_THREADS;
    count = epoll_wait(epoll_, seen.data(), room, -1);
    Py_END_ALLOW_THREADS;
  }
  const int error = errno;
  idle_.store(false);
  woken_.store(false);
  events_came_ = false;
  if (count < 0) {
    if (error == EINTR) return true;  // A signal: its handler runs before anything else.
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError) != nullptr;
  }
  if (!keys_) return collect_events_by_python();
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = seen[static_cast<std::size_t>(i)];
    if (event.data.fd == event_loop_->descriptor()) {
      host_wants_turn_ = true;
      continue;
    }
    const Reference descriptor = Reference::steal(PyLong_FromLong(event.data.fd));
    if (!descriptor) return false;
    const Reference key = Reference::borrow(PyDict_GetItemWithError(keys_.get(), descriptor.get()));
    if (!key && PyErr_Occurred() != nullptr) return false;
    if (key && !collect(key.get(), event.events)) return false;
    events_came_ = true;
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
  host_wants_turn_ = !attached_;  // Of which this selector says nothing.
  return seen && call_method(object(loop_), "_process_events", seen.get());
}

}  // namespace unirun::bindings
