// EventLoop is the one thread on which host, supervisors and executors live. It wraps libuv, which
// shows in no header. Waiting costs nothing: with no work there is no wake-up.
//
// Thread: the one that calls run(), except post() and stop(), which any thread may call.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "framework/clock.h"
#include "framework/loop_seat.h"
#include "framework/registration.h"
#include "framework/result.h"
#include "framework/timers.h"

namespace unirun {

// What to look for on a descriptor, and what was seen.
enum class Interest : std::uint8_t { readable = 1, writable = 2, both = 3 };

// Watches a descriptor or a signal. Does not own the descriptor: end the watch first, close the
// descriptor afterwards. Thread: the loop's.
using Watch = Registration;

// Hears when the loop begins to work and when it is done: before it waits, or looks for more.
// Thread: the loop's.
class TurnObserver {
 public:
  virtual ~TurnObserver() = default;
  virtual void on_turn_began() noexcept = 0;
  virtual void on_turn_ended() noexcept = 0;
};

// What the loop does once a turn's work is done.
enum class AfterTurn : std::uint8_t {
  wait,   // Until something happens.
  go_on,  // With the next turn at once.
  leave,  // run() returns.
};

// Another loop that lives on this one's turns: asyncio. Thread: the loop's.
class TurnHook {
 public:
  virtual ~TurnHook() = default;

  // All that was ready has been served. Does the guest's share of the work; timers and watches that
  // it starts count at once. What another thread gives the guest calls for EventLoop::wake().
  virtual AfterTurn before_wait() noexcept = 0;
};

class EventLoop final : public Timers {
 public:
  // REQUIRES: the system has descriptors left for libuv's own and a timerfd (else it aborts by
  // name).
  explicit EventLoop(const Clock& clock);
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs until stop(). The calling thread becomes the loop thread.
  void run();

  // The one that this thread runs, the innermost if there are several; null: none.
  [[nodiscard]] static EventLoop* current();

  // Runs what is ready now, waiting for nothing. For tests, and for who waits elsewhere: until
  // descriptor() is readable, or not at all as long as wants_turn().
  void run_ready();
  [[nodiscard]] int descriptor() const;
  [[nodiscard]] bool wants_turn() const;

  // Makes run() return at the end of its turn; posted functions that are already there run first.
  // Thread: any.
  void stop();

  // Calls `function` on the loop thread, soon, in the order of posting from each thread; wakes the
  // loop at most once a burst, and from the loop thread itself without a system call. Functions
  // posted after the loop's end are dropped with it. Thread: any.
  void post(std::function<void()> function);

  // Begins a turn if the loop waits. Cheaper than post(), and nothing is allocated. Thread: any.
  void wake();

  // On time to some tens of microseconds: the alarm is a timerfd, not libuv's milliseconds.
  [[nodiscard]] TimerId start_timer(Instant deadline, std::function<void()> on_due) override;
  void cancel_timer(TimerId timer) override;

  // Level-triggered. `on_ready` may destroy the watch. POLLHUP and POLLERR count as readable and
  // writable. Makes the descriptor non-blocking. REQUIRES: no other watch on it, no regular file
  // (else it aborts by name).
  [[nodiscard]] Watch watch(int descriptor, Interest interest,
                            std::function<void(Interest)> on_ready);

  // The same for a descriptor of which nothing is known. Errors: it is not open, is watched
  // already, or is a regular file.
  [[nodiscard]] Result<Watch> try_watch(int descriptor, Interest interest,
                                        std::function<void(Interest)> on_ready);

  // The disposition of `signal_number` is the loop's as long as the watch lives.
  [[nodiscard]] Watch watch_signal(int signal_number, std::function<void()> on_signal);

  // Runs `work` on a worker thread, then `done` on the loop: for disk, DNS and whatever else
  // blocks. When the loop ends, running work is waited for, waiting work is dropped, and no `done`
  // is called any more.
  void run_blocking(std::function<void()> work, std::function<void()> done);

  // One at a time; nullptr for none. Outlives its time here. A turn that is going on has begun for
  // it.
  void observe_turns(TurnObserver* observer);

  // One at a time; nullptr for none. Outlives its time here.
  void set_turn_hook(TurnHook* hook);

  // On whose behalf it works right now. See LoopSeat for the threads.
  [[nodiscard]] LoopSeat& seat() { return seat_; }

  [[nodiscard]] bool in_loop_thread() const;
  [[nodiscard]] const Clock& clock() const { return clock_; }

 private:
  struct Impl;

  const Clock& clock_;
  LoopSeat seat_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
