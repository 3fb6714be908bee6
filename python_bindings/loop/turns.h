// Turns drives asyncio on the turns of an EventLoop: before the loop waits, what is ready is
// called; if nothing is left, the loop waits, with the GIL released. Descriptors stay in asyncio's
// own selector: its epoll is a single descriptor to the loop, so that registering one follows the
// standard library to the letter.
//
//   alone      run() owns an EventLoop and runs it until the Python loop is stopped.
//   attached   somebody else runs the EventLoop; each turn takes the GIL if there is work for
//              Python, and gives it back.
//
// Thread: the loop's, with the GIL, except before_wait(); call_soon_threadsafe() and wake() any
// thread, with the GIL.

#pragma once

#include "python_bindings/loop/python.h"

#include <sys/types.h>

#include <atomic>
#include <limits>
#include <memory>

#include "framework/event_loop.h"
#include "python_bindings/loop/ready_ring.h"
#include "python_bindings/loop/timer_heap.h"

namespace unirun::bindings {

struct LoopCore;

class Turns final : public TurnHook {
 public:
  explicit Turns(LoopCore& loop) : loop_(loop) {}
  ~Turns() override { close(); }

  void call_soon(Reference handle);
  void call_soon_threadsafe(Reference handle);
  void call_at(double when, Reference handle);
  void on_timer_cancelled() { timers_.note_cancelled(); }
  void wake();

  // Runs alone until the Python loop is told to stop. False: an exception is set.
  [[nodiscard]] bool run();

  // Lives on the turns of `host` until detach(). False: an exception is set. REQUIRES: not running.
  [[nodiscard]] bool attach(EventLoop& host);
  void detach();
  [[nodiscard]] bool attached() const { return attached_; }

  // Lets go of the selector, before that is closed, and of the EventLoop.
  void close();

  // Forgets all that was to be called.
  void clear();
  int traverse(visitproc visit, void* arg) const;

  AfterTurn before_wait() noexcept override;

 private:
  bool open(EventLoop& event_loop);
  bool has_work();
  AfterTurn turn_with_gil();
  bool call_what_is_ready();
  bool call(PyObject* handle);
  bool call_foreign(PyObject* handle);
  bool report(PyObject* handle);
  bool collect_events();
  bool collect_events_by_python();
  bool collect(PyObject* key, unsigned events);
  bool collect(PyObject* key, PyObject* handle, const char* remove);
  void collect_timers();
  void set_alarm();

  LoopCore& loop_;
  ReadyRing ready_;
  TimerHeap timers_;

  std::unique_ptr<EventLoop> own_;
  pid_t owner_process_ = 0;  // A fork's child must not touch the epoll that it shares.
  EventLoop* event_loop_ = nullptr;
  bool attached_ = false;
  PyThreadState* released_ = nullptr;  // While running alone and waiting.
  Reference failure_;                  // What left a callback and is to leave run().

  int epoll_ = -1;  // The selector's.
  Reference selector_;
  Reference keys_;  // Its keys by descriptor; nothing: we know it only by its methods.
  Watch epoll_watch_;
  bool events_wait_ = false;  // The selector has something.

  TimerId alarm_ = TimerId::none;
  double alarm_time_ = std::numeric_limits<double>::infinity();
  bool alarm_rang_ = false;

  bool more_ = false;               // The last turn left something to call.
  std::atomic<bool> idle_ = false;  // Whoever adds something must say so by `woken_`.
  std::atomic<bool> woken_ = false;
};

// Seconds of CLOCK_MONOTONIC, as time.monotonic() counts them.
[[nodiscard]] double monotonic_seconds();

}  // namespace unirun::bindings
