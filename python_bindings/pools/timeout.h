// Timeouts as the standard library takes them.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <chrono>
#include <cmath>

#include "framework/clock.h"

namespace unirun::bindings {

// A signal that comes while the GIL is released and others are woken does not keep us from falling
// asleep: whoever waits looks for it once more after this time.
constexpr auto second_look = std::chrono::milliseconds(20);

// Of a timeout in seconds from now. False: an exception is set, as threading.Lock.acquire() has it.
[[nodiscard]] inline bool deadline_after(PyObject* timeout, Instant& deadline) {
  const double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) return false;
  if (std::isnan(seconds)) {
    PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)");
    return false;
  }
  if (seconds > PY_TIMEOUT_MAX / 1e6) {
    PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
    return false;
  }
  const auto waited = std::chrono::duration<double>(seconds > 0 ? seconds : 0);
  deadline = SystemClock().now() + std::chrono::duration_cast<Duration>(waited);
  return true;
}

}  // namespace unirun::bindings
