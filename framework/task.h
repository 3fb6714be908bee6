// Task is a coroutine that begins when it is awaited and hands its outcome to whoever awaits it:
//
//   Task<int> answer() { co_return 42; }
//   Task<> ask() { int found = co_await answer(); ... }
//
// What leaves it as an exception leaves the co_await. A task that is destroyed before its end
// destroys what it was waiting in, from the inside out.
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

namespace detail {

// Where a task goes when it ends: to who awaits it, by symmetric transfer, so that a chain of any
// length needs no stack.
struct TaskPromiseBase {
  std::coroutine_handle<> awaiter = std::noop_coroutine();
  std::exception_ptr failure;

  struct Final {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
      return ended.promise().awaiter;
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
