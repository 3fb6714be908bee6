// AsyncioLoops keeps the asyncio loop of each host's loop in this process: made for the first
// Python service that runs there as a coroutine, gone with the host.
//
// Thread: that of the loop that is asked for.

#pragma once

#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <map>
#include <memory>
#include <mutex>

#include "framework/event_loop.h"
#include "framework/result.h"
#include "python_bindings/loop/attached_loop.h"

namespace unirun::bindings {

class AsyncioLoops {
 public:
  // The Python loop, borrowed. Errors: asyncio cannot be had, and why.
  [[nodiscard]] Result<PyObject*> of(EventLoop& loop);

  // `loop` will not run any more: cancels what is left on it, and closes it.
  void leave(EventLoop& loop);

 private:
  std::mutex mutex_;
  std::map<EventLoop*, std::unique_ptr<AttachedLoop>> attached_;  // Guarded by `mutex_`.
};

}  // namespace unirun::bindings
