// PoolRendezvous: a Rendezvous of threads that need the GIL to go on. What is looked for comes true
// while the other one still holds it. Whoever ran into it would fall asleep after all, so it waits
// until the other has let go: hold() and let_go() tell.
//
// Thread: any.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <atomic>
#include <chrono>

#include "framework/rendezvous.h"

namespace unirun::bindings {

class PoolRendezvous : public Rendezvous {
 public:
  // Whoever holds the GIL and is about to make true what the other side looks for; and when it has
  // released it.
  void hold() { held_.store(has_gil, std::memory_order_relaxed); }
  void let_go() { held_.store(false, std::memory_order_release); }

  // As the other. REQUIRES: the GIL is not held.
  template <class Event>
  bool look(Side side, Event is_there) {
    if (!Rendezvous::look(side, is_there)) return false;
    look_until([this] { return !held_.load(std::memory_order_acquire); }, longest_hold);
    return true;
  }

 private:
#ifdef Py_GIL_DISABLED
  static constexpr bool has_gil = false;
#else
  static constexpr bool has_gil = true;
#endif
  static constexpr auto longest_hold = std::chrono::microseconds(10);  // Others may hold it longer.

  std::atomic<bool> held_;
};

}  // namespace unirun::bindings
