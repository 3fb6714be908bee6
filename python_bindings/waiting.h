// How Python code waits for something in C++: without the GIL, and so that Ctrl-C ends it.
//
// Thread: any with the GIL.

#pragma once

#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <chrono>
#include <optional>

#include "framework/time.h"

namespace unirun::bindings {

// Between two looks at Python's signals: Ctrl-C must end a wait. Only while somebody waits.
inline constexpr Duration signal_interval = std::chrono::milliseconds{50};

// Calls `done(slice)`, which waits up to `slice`, until it is true: without the GIL, so that other
// Python threads run meanwhile. Throws what a signal handler raised.
template <class Done>
void wait_interruptibly(Done done) {
  for (;;) {
    bool ended = false;
    {
      const py::gil_scoped_release released;
      ended = done(signal_interval);
    }
    if (ended) return;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

inline std::optional<Duration> duration(std::optional<double> seconds) {
  if (!seconds) return std::nullopt;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*seconds));
}

}  // namespace unirun::bindings
