// AttachedLoop is asyncio on an EventLoop that somebody else runs: the host's. It makes a
// unirun.loop.EventLoop and has it driven by the turns of that loop: what is ready in Python runs
// before the loop waits, under the GIL, which is taken only if there is something and is not held
// while other callbacks of the loop run, or while it waits.
//
// While it is attached its Python loop is asyncio's running loop of this thread: tasks begin with
// loop.create_task() (under the GIL), from the loop's thread. From other threads there is
// call_soon_threadsafe(), from C++ EventLoop::post(). stop(), close() and run_forever() are
// refused.
//
// Thread: the EventLoop's, except where said. Every function takes the GIL by itself, and may be
// called with or without it. What a callback raises goes to the Python loop's exception handler,
// SystemExit and KeyboardInterrupt included: the host decides about ends.

#pragma once

#include "python_bindings/python.h"

#include <memory>

#include "framework/event_loop.h"
#include "framework/result.h"

namespace unirun::bindings {

class AttachedLoop {
 public:
  // REQUIRES: on the thread that runs (or will run) `host`, which outlives the result and has no
  // other TurnHook. Errors: an exception of Python, with its type and text.
  [[nodiscard]] static Result<std::unique_ptr<AttachedLoop>> attach(EventLoop& host);

  // REQUIRES: detach() has been called.
  ~AttachedLoop();
  AttachedLoop(const AttachedLoop&) = delete;
  AttachedLoop& operator=(const AttachedLoop&) = delete;

  // The Python loop, borrowed. It lives until the end of this, closed after detach().
  [[nodiscard]] PyObject* loop() const { return loop_; }

  // Says who has the seat of `host` while Python runs in a context (framework/loop_seat.h).
  void name_occupants(std::shared_ptr<LoopOccupant> (*occupant_of)(PyObject* context));

  // Cancels every task and waits for them, for asynchronous generators and for the default executor
  // together at most `patience`; what goes on beyond that is named in the log and left. Then the
  // Python loop is closed. Runs `host` meanwhile, its other callbacks too.
  // REQUIRES: EventLoop::run() has returned, or was not called yet. The second call does nothing.
  void detach(Duration patience);

 private:
  explicit AttachedLoop(PyObject* loop) : loop_(loop) {}

  PyObject* loop_;
  bool attached_ = true;
};

}  // namespace unirun::bindings
