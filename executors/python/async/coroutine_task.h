// CoroutineTask is the part of a task whose code is a coroutine: what a CoroutineLoop asks of it,
// and what the loop keeps for it.
//
// Thread: the loop's, with the GIL, but for what names another.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <memory>

#include "executors/python/error.h"
#include "executors/python/tasks/task_state.h"

namespace unirun::python {

class AsyncLoop;
class CoroutineLoop;
class LoopLink;
struct CoroutineDriver;

// Keeps the tasks that name it together, on one loop: whichever the first was given to, as long as
// that gets on. Guarded by the lock of the LoopPool.
struct LoopHome {
  AsyncLoop* loop = nullptr;
};

// How a coroutine has ended.
enum class CoroutineEnd { returned, raised, cancelled };

class CoroutineTask {
 public:
  // With a home, which outlives it: on that loop; else on the one that has the least to do.
  explicit CoroutineTask(TaskState& state, LoopHome* home = nullptr) : state_(state), home_(home) {
    state.coroutine = this;
  }
  CoroutineTask(const CoroutineTask&) = delete;
  CoroutineTask& operator=(const CoroutineTask&) = delete;

  [[nodiscard]] TaskState& state() const { return state_; }
  // Where it runs; null: nowhere yet, or on a worker. It may have ended. Thread: any.
  [[nodiscard]] CoroutineLoop* loop() const { return loop_.load(std::memory_order_acquire); }
  // REQUIRES: loop().
  [[nodiscard]] LoopLink& link() const { return *link_; }
  [[nodiscard]] LoopHome* home() const { return home_; }
  // Whether asyncio has been told to cancel it. Thread: any.
  [[nodiscard]] bool was_cancelled() const { return cancelled_.load(std::memory_order_acquire); }

  // Whether a worker is to look first what it is, and not a loop. Thread: any.
  [[nodiscard]] virtual bool begins_on_worker() const noexcept { return false; }
  // Before it begins there. False: it is a coroutine, and was handed to the loops; one of a context
  // is to be handed to that worker's own. Thread: a worker, with the GIL.
  [[nodiscard]] virtual bool belongs_on_worker() noexcept { return true; }

 protected:
  virtual ~CoroutineTask() = default;

 private:
  friend class AsyncLoop;
  friend class CoroutineLoop;

  // Before it begins. False: it is no coroutine after all, and was handed to the workers.
  [[nodiscard]] virtual bool belongs_on_loop(Shared<TaskState>& task) noexcept = 0;
  // The coroutine, or another awaitable.
  [[nodiscard]] virtual Result<Reference> make() noexcept = 0;
  // The context to run in, its own; nothing: a copy of the loop's.
  [[nodiscard]] virtual Reference context() noexcept { return {}; }
  // What it returned; null: its exception is set, which this takes. Claims, and settles.
  virtual void end(PyObject* value, CoroutineEnd how) noexcept = 0;

  TaskState& state_;
  LoopHome* const home_;
  std::shared_ptr<LoopLink> link_;
  std::atomic<CoroutineLoop*> loop_{nullptr};
  std::atomic<bool> cancelled_{false};
  Instant began_{};                    // Where it is measured.
  CoroutineDriver* driver_ = nullptr;  // Borrowed of the next.
  PyObject* asyncio_task_ = nullptr;
  CoroutineTask* next_ = nullptr;  // Of those that run on the loop.
  CoroutineTask* previous_ = nullptr;
};

}  // namespace unirun::python
