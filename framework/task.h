// Task is a coroutine that begins when it is awaited and hands its outcome to whoever awaits it:
//
//   Task<int> answer() { co_return 42; }
//   Task<> ask() { int found = co_await answer(); ... }
//
// What leaves it as an exception leaves the co_await. A task that is destroyed before its end
// destroys what it was waiting in, from the inside out. Outside of coroutines run_task()
// (run_task.h) and start() begin one.
//
// Thread: the one that awaits it, which inside unirun is a loop's. Move-only.

#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "framework/require.h"

namespace unirun {

template <class T = void>
class Task;

// Hears of the end of a task that nobody awaits.
class TaskObserver {
 public:
  // Says which coroutine goes on now: std::noop_coroutine() for none. The task is still on the
  // stack: what destroys it has to come later.
  [[nodiscard]] virtual std::coroutine_handle<> on_task_ended() noexcept = 0;

 protected:
  ~TaskObserver() = default;
};

namespace detail {

// Where a task goes when it ends: to who awaits it, by symmetric transfer, so that a chain of any
// length needs no stack.
struct TaskPromiseBase {
  std::coroutine_handle<> awaiter = std::noop_coroutine();
  TaskObserver* observer = nullptr;  // In the awaiter's place.
  std::exception_ptr failure;

  struct Final {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
      TaskPromiseBase& promise = ended.promise();
      return promise.observer ? promise.observer->on_task_ended() : promise.awaiter;
    }
    void await_resume() const noexcept {}
  };

  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] Final final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { failure = std::current_exception(); }
};

template <class T>
struct TaskPromise : TaskPromiseBase {
  std::optional<T> value;

  Task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& given) {
    value.emplace(std::forward<U>(given));
  }
  T take() {
    if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
    return std::move(*value);
  }
};

template <>
struct TaskPromise<void> : TaskPromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() {
    if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
  }
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;  // Of nothing.
  explicit Task(Handle coroutine) noexcept : coroutine_(coroutine) {}
  Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    Task dropped(std::move(*this));
    coroutine_ = std::exchange(other.coroutine_, nullptr);
    return *this;
  }
  ~Task() {
    if (coroutine_) coroutine_.destroy();
  }

  [[nodiscard]] bool valid() const noexcept { return coroutine_ != nullptr; }

  // Begins it here and now, for nobody that awaits it; `observer` hears of its end, perhaps before
  // start() returns, and outlives it. REQUIRES: valid(), and neither started nor awaited before.
  void start(TaskObserver& observer) {
    UNIRUN_REQUIRE(valid());
    coroutine_.promise().observer = &observer;
    coroutine_.resume();
  }

  // The value, or the exception that left it, thrown. REQUIRES: it has ended; once.
  T take() {
    UNIRUN_REQUIRE(valid() && coroutine_.done());
    return coroutine_.promise().take();
  }

  // What left it, without the cost of a throw; null where it returned. REQUIRES: it has ended.
  [[nodiscard]] std::exception_ptr failure() const {
    UNIRUN_REQUIRE(valid() && coroutine_.done());
    return coroutine_.promise().failure;
  }

  // Begins it, and gives its outcome. REQUIRES: valid(), and awaited once.
  auto operator co_await() && noexcept {
    struct Awaiter {
      Handle coroutine;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiter) const noexcept {
        coroutine.promise().awaiter = awaiter;
        return coroutine;
      }
      T await_resume() const { return coroutine.promise().take(); }
    };
    UNIRUN_REQUIRE(valid());
    return Awaiter{coroutine_};
  }

 private:
  Handle coroutine_;
};

namespace detail {

template <class T>
Task<T> TaskPromise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}
inline Task<void> TaskPromise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

}  // namespace detail
}  // namespace unirun
