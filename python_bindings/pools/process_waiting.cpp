// How threads of the pool's process sleep until there is something for them: who waits in result(),
// the manager, and who watches the workers.

#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "framework/clock.h"
#include "python_bindings/gil.h"
#include "python_bindings/pools/process_engine.h"

namespace unirun::bindings {
namespace {

Instant now() { return SystemClock().now(); }

// ppoll() until then; `Instant::max()`: for ever.
int poll_until(std::vector<pollfd>& watched, Instant until) {
  if (until == Instant::max()) return ::ppoll(watched.data(), watched.size(), nullptr, nullptr);
  const Duration rest = std::max(until - now(), Duration{});
  const timespec time{rest.count() / 1'000'000'000, rest.count() % 1'000'000'000};
  return ::ppoll(watched.data(), watched.size(), &time, nullptr);
}

}  // namespace
// ---- Sleeping: in result() ----

int ProcessEngine::wait(Future* future, const Instant* deadline) {
  if (closed_ || damage || waiter_present_ || draining_) return sleep_on_future(future, deadline);
  waiter_present_ = true;
  if (manager_polls_) words()->set(Listener::nobody);
  bool stalled = false;
  int outcome = 0;
  // Where another thread reads results it needs the GIL to go on: we sleep on the future then.
  while (outcome == 0 && !draining_) {
    Wakes wakes;
    if (drain(wakes)) stalled = false;
    dispatch(wakes);
    if (!deliveries_.empty()) wake_manager();
    if (is_done(future) || damage || closed_ || (deadline != nullptr && now() >= *deadline)) break;
    const bool lazy = !stalled && crew_.has_more_than_one_call();
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

int ProcessEngine::sleep_as_waiter(Future* future, Wakes& wakes, bool lazy,
                                   const Instant* deadline) {
  const Listener listener = lazy ? Listener::lazy_waiter : Listener::waiter;
  words()->set(listener);
  if (crew_.has_results()) {
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
                             before, until == Instant::max() ? nullptr : &until,
                             FutexScope::shared);
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
  if (crew_.has_results()) wake_manager();
}

void ProcessEngine::arm_timer() {
  if (timer_armed_.exchange(true)) return;
  const itimerspec once{{0, 0}, {0, lazy_time.count()}};
  ::timerfd_settime(timer_, 0, &once, nullptr);
}

PyObject* ProcessEngine::serve() {
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
    if (std::exchange(attention_, false) || over || damage) Py_RETURN_NONE;
    const bool lazy = !stalled && !waiter_present_ && crew_.has_more_than_one_call();
    if (poll(lazy) == Woken::looked && lazy && !waiter_present_) {
      stalled = true;
      Wakes wakes;
      if (drain(wakes)) stalled = false;
      recall();
    }
    if (PyErr_CheckSignals() != 0) return nullptr;
  }
}

ProcessEngine::Woken ProcessEngine::poll(bool lazy) {
  if (!waiter_present_) {
    const Listener eager = manager_preferred_ ? Listener::manager : Listener::patient_manager;
    words()->set(lazy ? Listener::lazy_manager : eager);
    // Who reads results now, a worker's undertaker, wakes us when it has.
    if ((crew_.has_results() && !draining_) || !deliveries_.empty()) {
      words()->set(Listener::nobody);
      return Woken::told;
    }
  }
  std::vector<pollfd> watched{{event_, POLLIN, 0}, {timer_, POLLIN, 0}};
  const Instant until = lazy ? now() + lazy_time : Instant::max();
  manager_polls_ = true;
  const bool told = without_gil([&] {
    std::uint64_t seen = drains_.load();
    while (poll_until(watched, until) > 0) {
      std::uint64_t ignored = 0;
      if (watched[1].revents != 0 && ::read(timer_, &ignored, sizeof ignored) > 0)
        timer_armed_ = false;
      if (watched[0].revents != 0 && ::read(event_, &ignored, sizeof ignored) > 0) return true;
      // The timer alone. While a thread is in result(), or comes back to it, that one looks.
      if (waiter_present_.load()) continue;
      const std::uint64_t drains = drains_.load();
      if (drains == seen) return false;
      seen = drains;
      arm_timer();
    }
    return false;
  });
  manager_polls_ = false;
  if (!waiter_present_ && !closed_) words()->set(Listener::nobody);
  return told ? Woken::told : Woken::looked;
}

// ---- Sleeping: who watches the workers ----

void ProcessEngine::call_watcher() {
  if (watches_until_ == Instant{}) return;  // It looks once more before it sleeps.
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(watch_event_, &one, sizeof one);
}

void ProcessEngine::stop_watching() {
  watch_is_over_ = true;
  call_watcher();
}

PyObject* ProcessEngine::watch_workers() {
  const auto report = [](const char* what, const std::vector<std::uint64_t>& ids) -> PyObject* {
    Reference list = Reference::steal(PyList_New(0));
    for (const std::uint64_t id : ids) {
      const Reference number = Reference::steal(PyLong_FromUnsignedLongLong(id));
      if (!list || !number || PyList_Append(list.get(), number.get()) != 0) return nullptr;
    }
    return list ? Py_BuildValue("(sN)", what, list.release()) : nullptr;
  };
  for (;;) {
    if (watch_is_over_ || closed_) return report("ended", {});
    if (const auto late = crew_.overdue(now()); !late.empty()) return report("overdue", late);
    std::vector<pollfd> watched{{watch_event_, POLLIN, 0}};
    std::vector<std::shared_ptr<ProcessWorker>> alive;
    for (const auto& worker : crew_.workers()) {
      if (worker->sentinel < 0 || worker->told_dead) continue;
      watched.push_back({worker->sentinel, POLLIN, 0});
      alive.push_back(worker);
    }
    const Instant until = watches_until_ = crew_.next_deadline();
    without_gil([&] {
      std::uint64_t ignored = 0;
      const int ready = poll_until(watched, until);
      if (ready > 0 && watched[0].revents != 0)
        static_cast<void>(!::read(watch_event_, &ignored, sizeof ignored));
      return ready;
    });
    watches_until_ = {};
    std::vector<std::uint64_t> died;
    for (std::size_t at = 0; at < alive.size() && !watch_is_over_; ++at) {
      if (watched[at + 1].revents == 0) continue;
      alive[at]->told_dead = true;
      died.push_back(alive[at]->id);
    }
    if (!died.empty()) return report("died", died);
  }
}

}  // namespace unirun::bindings
