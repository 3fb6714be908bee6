// CoroutineEndings sees to it that coroutines end that asyncio was told to cancel. A `finally` may
// take its time, but not hold up its loop: a step that goes on is interrupted, and where that does
// not help, whoever runs the loop is given up. What a closed context waits for has a while, and is
// left alone then.
//
// Thread: any.

#pragma once

#include <functional>

#include "executors/python/tasks/interruptions.h"

namespace unirun::python {

class CoroutineLoop;

class CoroutineEndings {
 public:
  using GiveUp = std::function<bool(CoroutineLoop& loop, const TaskState& task)>;

  // Who waits for one that was told to end waits so long.
  static constexpr Duration patience = std::chrono::seconds(5);

  // `give_up` is called for a loop that does not come back from a step. False: as Interruptions has
  // it.
  CoroutineEndings(Interruptions& interruptions, GiveUp give_up)
      : interruptions_(interruptions), give_up_(std::move(give_up)) {}

  // Has it cancelled, and looks on until it has ended. REQUIRES: task->coroutine->loop().
  void begin(Shared<TaskState> task);

 private:
  struct Watch;
  void look_later(Watch watch);
  void look(Watch watch);

  Interruptions& interruptions_;
  const GiveUp give_up_;
};

}  // namespace unirun::python
