// AsyncioMailbox brings functions to a loop of asyncio's, of any make, from threads that must not
// wait for the GIL: a descriptor which the loop watches is written to once a burst.
//
// Thread: post() any; of_running_loop() the loop's, with the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace unirun::python {

class AsyncioMailbox {
 public:
  // Of the loop that runs on this thread. It lives as long as the loop; whoever posts later holds a
  // weak share. Null: an exception is set.
  [[nodiscard]] static std::shared_ptr<AsyncioMailbox> of_running_loop(PyObject* loop);

  explicit AsyncioMailbox(int descriptor) : descriptor_(descriptor) {}
  AsyncioMailbox(const AsyncioMailbox&) = delete;
  AsyncioMailbox& operator=(const AsyncioMailbox&) = delete;
  ~AsyncioMailbox();

  // Calls it on the loop's thread, with the GIL, soon; or never, if the loop ends before.
  void post(std::function<void()> function);

 private:
  static void drop_share(PyObject* capsule);
  [[nodiscard]] static PyObject* on_readable(PyObject* capsule, PyObject* nothing);
  void serve();

  const int descriptor_;  // An eventfd.
  std::atomic<bool> has_loop_{true};
  std::mutex mutex_;  // Guards the next. Nothing is called under it.
  std::vector<std::function<void()>> posted_;
};

}  // namespace unirun::python
