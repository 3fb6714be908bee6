// Promise: to whom the outcome of a task is owed. A Future, as submit() gives; a loop, for
// to_thread(); a place in the results of map().
//
// Thread: with the GIL.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <cstddef>
#include <cstdint>

#include "python_bindings/pools/future.h"
#include "python_bindings/pools/loop_bridge.h"
#include "python_bindings/pools/map_run.h"
#include "python_bindings/pools/wakes.h"

namespace unirun::bindings {

class Promise {
 public:
  Promise() = default;
  // Each takes the reference, or the errand, over.
  explicit Promise(Future* future) : kind_(Kind::future), to_(future) {}
  explicit Promise(Errand* errand) : kind_(Kind::errand), to_(errand) {}
  Promise(MapRun* run, std::size_t place) : kind_(Kind::place), to_(run), place_(place) {}

  // Whether the task is still to run, and from now on runs.
  [[nodiscard]] bool begin(Wakes& wakes) const {
    switch (kind_) {
      case Kind::errand: return !is_cancelled(errand());
      case Kind::place: return !is_cancelled(run());
      case Kind::future: break;
    }
    return start_future(future(), wakes);
  }
  // One of the two; the reference is taken over.
  void keep(PyObject* result, PyObject* exception, Wakes& wakes) const {
    switch (kind_) {
      case Kind::errand: return deliver(errand(), result, exception, wakes);
      case Kind::place: return fill_place(run(), place_, result, exception, wakes);
      case Kind::future: break;
    }
    return result != nullptr ? finish_future(future(), result, wakes)
                             : fail_future(future(), exception, wakes);
  }
  // It will not be kept.
  void drop() const {
    switch (kind_) {
      case Kind::errand: return destroy_errand(errand());
      case Kind::place: return Py_DECREF(reinterpret_cast<PyObject*>(run()));
      case Kind::future: return Py_DECREF(reinterpret_cast<PyObject*>(future()));
    }
  }
  // That of submit(); null where it is none.
  [[nodiscard]] Future* future() const {
    return kind_ == Kind::future ? static_cast<Future*>(to_) : nullptr;
  }
  // Whether a loop waits for it, which does not tell when it goes to sleep.
  [[nodiscard]] bool is_errand() const { return kind_ == Kind::errand; }

  [[nodiscard]] PyObject* context() const { return errand()->context; }

  int traverse(visitproc visit, void* arg) const {
    if (kind_ == Kind::errand) return errand()->traverse(visit, arg);
    Py_VISIT(static_cast<PyObject*>(to_));
    return 0;
  }

 private:
  enum class Kind : std::uint8_t { future, errand, place };

  [[nodiscard]] Errand* errand() const { return static_cast<Errand*>(to_); }
  [[nodiscard]] MapRun* run() const { return static_cast<MapRun*>(to_); }

  Kind kind_ = Kind::future;
  void* to_ = nullptr;
  std::size_t place_ = 0;
};

}  // namespace unirun::bindings
