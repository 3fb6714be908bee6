// WorkerObserver hears of the tasks of a worker, or of a loop of asyncio's.

#pragma once

namespace unirun::python {

class TaskState;

// Thread: the worker's, with the GIL.
class WorkerObserver {
 public:
  // One that was queued runs now, or was found to have been ended before.
  virtual void on_taken(TaskState& task) noexcept = 0;
  virtual void on_ended(TaskState& task) noexcept = 0;
  // One that runs cannot be interrupted at this moment.
  virtual void ask_again(TaskState& task) noexcept = 0;

 protected:
  ~WorkerObserver() = default;
};

}  // namespace unirun::python
