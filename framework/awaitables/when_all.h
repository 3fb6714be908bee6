// WhenAll begins many tasks and waits for all of them:
// std::vector<int> values = co_await when_all(std::move(tasks)).
//
// Thread: the one that awaits it. The values come in the tasks' order. Where tasks fail, the first
// failure in that order is thrown once all have ended: give them a token of their own if one's
// failure shall end the others.

#pragma once

#include <coroutine>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "framework/task.h"

namespace unirun {

template <class T>
class [[nodiscard]] WhenAll final : TaskObserver {
 public:
  explicit WhenAll(std::vector<Task<T>> tasks) : tasks_(std::move(tasks)) {}
  WhenAll(const WhenAll&) = delete;
  WhenAll& operator=(const WhenAll&) = delete;

  [[nodiscard]] bool await_ready() const { return tasks_.empty(); }
  bool await_suspend(std::coroutine_handle<> waiting) {
    left_ = tasks_.size() + 1;  // One for this loop: a task may end while others are to begin.
    for (Task<T>& task : tasks_) task.start(*this);
    waiting_ = waiting;
    return --left_ > 0;
  }
  auto await_resume() {
    if constexpr (std::is_void_v<T>) {
      for (Task<T>& task : tasks_) task.take();
    } else {
      std::vector<T> values;
      values.reserve(tasks_.size());
      for (Task<T>& task : tasks_) values.push_back(task.take());
      return values;
    }
  }

 private:
  std::coroutine_handle<> on_task_ended() noexcept override {
    if (--left_ > 0) return std::noop_coroutine();
    return waiting_;
  }

  std::vector<Task<T>> tasks_;
  std::size_t left_ = 0;
  std::coroutine_handle<> waiting_;
};

template <class T>
WhenAll<T> when_all(std::vector<Task<T>> tasks) {
  return WhenAll<T>(std::move(tasks));
}

}  // namespace unirun
