// InterruptionLock keeps an interruption from a task that ends meanwhile, where the GIL does not.
//
// Thread: attached. Who waits for it is detached meanwhile, so that Python may run under it.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

#ifdef Py_GIL_DISABLED
using InterruptionMutex = PyMutex;
#else
struct InterruptionMutex {};
#endif

class [[maybe_unused]] InterruptionLock {
 public:
#ifdef Py_GIL_DISABLED
  explicit InterruptionLock(InterruptionMutex& mutex) : mutex_(mutex) { PyMutex_Lock(&mutex_); }
  ~InterruptionLock() { PyMutex_Unlock(&mutex_); }
#else
  explicit InterruptionLock(InterruptionMutex& /*mutex*/) {}
#endif
  InterruptionLock(const InterruptionLock&) = delete;
  InterruptionLock& operator=(const InterruptionLock&) = delete;

#ifdef Py_GIL_DISABLED

 private:
  InterruptionMutex& mutex_;
#endif
};

}  // namespace unirun::python
