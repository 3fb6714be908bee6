// InterruptionLock keeps an interruption from a task that ends meanwhile, where the GIL does not.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <mutex>

namespace unirun::python {

class [[maybe_unused]] InterruptionLock {
 public:
#ifdef Py_GIL_DISABLED
  explicit InterruptionLock(std::mutex& mutex) : lock_(mutex) {}

 private:
  std::lock_guard<std::mutex> lock_;
#else
  explicit InterruptionLock(std::mutex& /*mutex*/) {}
#endif
};

}  // namespace unirun::python
