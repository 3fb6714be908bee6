// Attendant is the one thread of ours that takes the GIL on behalf of the loop thread, which never
// does: a Python program that computes must not hold supervision up. It lives from its first errand
// to the end of the process.
//
// Thread: any.

#pragma once

#include <functional>

#include "framework/time.h"

namespace unirun::bindings {

class Attendant {
 public:
  [[nodiscard]] static Attendant& of_process();

  // Runs `errand` with the GIL, soon, in the order of posting. It must not throw.
  void post(std::function<void()> errand);

  // The same, and again some milliseconds later until it returns true.
  void post_until(std::function<bool()> errand);

  // The same, and waits for it. False if it is not done within `timeout`: somebody holds the GIL.
  // REQUIRES: this thread does not.
  [[nodiscard]] bool run(std::function<void()> errand, Duration timeout);

 private:
  struct State;
  Attendant();

  State* const state_;  // Never freed: its thread may outlive every other.
};

}  // namespace unirun::bindings
