// Turns drives asyncio: what is ready is called in rounds, and when nothing is left, it waits, with
// the GIL released. Descriptors stay in asyncio's own selector, an epoll, so that registering one
// follows the standard library to the letter; deadlines and wakes are an EventLoop's. One of the
// two is a single descriptor to the other:
//
//   alone      run() waits in the selector's epoll, and the EventLoop's descriptor is in that.
//   attached   somebody else runs the EventLoop, and the epoll is in that; each turn takes the GIL
//              if there is work for Python, and gives it back.
//
// Thread: the loop's, with the GIL, except before_wait(); call_soon_threadsafe() and wake() any
// thread, with the GIL.

#pragma once

#include "python_bindings/python.h"

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

  // While a guest: who has the host's loop during a call in this context of Python; null: nobody.
  // With the GIL, and no exception set.
  using OccupantOf = std::shared_ptr<LoopOccupant> (*)(PyObject* context);
  void name_occupants(OccupantOf occupant_of) { occupant_of_ = occupant_of; }

  // Does a call on behalf of `occupant` run right now? Any thread, with the GIL.
  [[nodiscard]] bool works_for(const LoopOccupant* occupant) const {
    return occupant != nullptr && called_for_ == occupant;
  }
  // Raises `exception` in that call, and in nothing that is called after it. False: that cannot be
  // struck just now, but a moment later. Any thread, with the GIL. REQUIRES: works_for() somebody.
  [[nodiscard]] bool strike(PyObject* exception);

  // Lets go of the selector, before that is closed, and of the EventLoop.
  void close();

  // Forgets all that was to be called.
  void clear();
  int traverse(visitproc visit, void* arg) const;

  AfterTurn before_wait() noexcept override;

 private:
  enum class Wait { no, until_something_happens };

  bool open();
  bool run_alone();
  void run_host();
  bool has_work();
  bool call_what_is_ready();
  bool call(PyObject* handle);
  bool call_for(const LoopOccupant* occupant, PyObject* handle);
  bool call_plain(PyObject* handle);
  bool call_foreign(PyObject* handle);
  bool report(PyObject* handle);
  bool collect_events(Wait wait);
  bool collect_events_by_python();
  bool collect(PyObject* key, unsigned events);
  bool collect(PyObject* key, PyObject* handle, const char* remove);
  void collect_timers();
  bool set_alarm();

  LoopCore& loop_;
  ReadyRing ready_;
  TimerHeap timers_;

  std::unique_ptr<EventLoop> own_;
  pid_t owner_process_ = 0;  // A fork's child must not touch the epolls that it shares.
  EventLoop* event_loop_ = nullptr;
  bool attached_ = false;
  bool host_wants_turn_ = false;  // Alone: the EventLoop has something to do.
  OccupantOf occupant_of_ = nullptr;
  const LoopOccupant* called_for_ = nullptr;
  unsigned long thread_ = 0;               // That runs the host, as Python counts threads,
  PyThreadState* thread_state_ = nullptr;  // and its state during that call.
  bool struck_ = false;                    // Since this call began.

  int epoll_ = -1;  // The selector's.
  Reference selector_;
  Reference keys_;            // Its keys by descriptor; nothing: we know it only by its methods.
  Watch epoll_watch_;         // Attached.
  bool events_wait_ = false;  // The selector may have something.
  bool events_came_ = false;  // It had, the last time.

  TimerId alarm_ = TimerId::none;
  double alarm_time_ = std::numeric_limits<double>::infinity();
  bool alarm_rang_ = false;

  bool more_ = false;                // The last turn left something to call.
  std::atomic<bool> idle_ = false;   // The loop looks no more by itself before it waits.
  std::atomic<bool> added_ = false;  // Since then something was added,
  std::atomic<bool> woken_ = false;  // and the loop told so.
};

// Seconds of CLOCK_MONOTONIC, as time.monotonic() counts them.
[[nodiscard]] double monotonic_seconds();

}  // namespace unirun::bindings
