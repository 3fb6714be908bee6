// AsgiTask is the task whose code is one call of an ASGI application. Its exchange settles it.
//
// Thread: as CoroutineTask and TaskState name them.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <memory>
#include <mutex>
#include <utility>

#include "executors/python/asgi/asgi_exchange.h"
#include "executors/python/async/coroutine_task.h"
#include "executors/python/future.h"

namespace unirun::python {

template <class T>
class AsgiTask final : public Outcome<T>, private CoroutineTask {
 public:
  // What it fails with is what the exchange makes of it.
  AsgiTask(std::shared_ptr<AsgiExchange> exchange, LoopHome& home)
      : CoroutineTask(static_cast<TaskState&>(*this), &home), exchange_(std::move(exchange)) {}

  void run() noexcept override {}  // Not on a worker.
  void fail(Error error) noexcept override {
    exchange_->fail(error);
    this->settle(outcome_of_failure(std::move(error)));
  }

 private:
  [[nodiscard]] static Result<T> outcome_of_failure(Error error) { return error; }

  [[nodiscard]] bool belongs_on_loop(Shared<TaskState>& /*task*/) noexcept override { return true; }
  [[nodiscard]] Result<Reference> make() noexcept override { return exchange_->call_application(); }
  void end(PyObject* value, CoroutineEnd how) noexcept override { exchange_->end(value, how); }

  const std::shared_ptr<AsgiExchange> exchange_;
};

// The share that an exchange has in its task until that has its outcome; so neither keeps the other
// for ever. Thread: any.
template <class T>
class AsgiShare {
 public:
  void set(Shared<Outcome<T>> task) {
    const std::lock_guard lock(mutex_);
    task_ = std::move(task);
  }
  [[nodiscard]] Shared<Outcome<T>> get() const {
    const std::lock_guard lock(mutex_);
    return task_;
  }
  // Nothing the second time.
  [[nodiscard]] Shared<Outcome<T>> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(task_, {});
  }
  void settle(Ending ending, Result<T> outcome) {
    const Shared<Outcome<T>> task = take();
    if (task && task->claim(ending)) task->settle(std::move(outcome));
  }

 private:
  mutable std::mutex mutex_;  // Guards the next.
  Shared<Outcome<T>> task_;
};

}  // namespace unirun::python
