// Interruptions asks code that is not wanted any more to end: again and again, and then gives it
// up.
//
// Thread: any. It has one of its own, which may wait for the GIL, as no deadline should.

#pragma once

#include <functional>

#include "executors/python/tasks/deadlines.h"
#include "executors/python/tasks/worker_pool.h"

namespace unirun::python {

class Interruptions {
 public:
  // False: it does not run just now, and is to be asked again.
  using GiveUp = std::function<bool(const TaskState& task)>;

  // So often code is asked, and in such intervals.
  static constexpr int asks = 10;
  static constexpr Duration ask_again_after = std::chrono::milliseconds(50);

  // `give_up` is called for a task that goes on.
  Interruptions(WorkerPool& pool, GiveUp give_up) : pool_(pool), give_up_(std::move(give_up)) {}

  // Until the task, which somebody else has claimed, is over.
  void begin(Shared<TaskState> task) { ask_soon(std::move(task), 0); }
  void ask_once(Shared<TaskState> task) { ask_once(std::move(task), Duration::zero()); }
  // The same a moment later: it could not be asked just now.
  void ask_again(Shared<TaskState> task);
  // Calls `look` on the thread that interrupts.
  void look_later(Duration wait, std::function<void()> look);

  // Has its thread attach to the main interpreter, which drops what lies in its graveyard.
  void come_by();

  void open() { deadlines_.open(); }
  void stop() { deadlines_.stop(); }
  // In a child of fork().
  void forget();

 private:
  void ask_once(Shared<TaskState> task, Duration wait);
  void ask_soon(Shared<TaskState> task, int asked);
  void ask(const Shared<TaskState>& task, int asked);

  WorkerPool& pool_;
  const GiveUp give_up_;
  Deadlines deadlines_;
};

}  // namespace unirun::python
