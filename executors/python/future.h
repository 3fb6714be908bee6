// future<T> is what submit() gives: the outcome of a task, later, as a Result<T>.
//
//   python::PythonExecutor::submit([] { return PyLong_FromLong(42); })
//       .then([](PyObject* answer) { return PyLong_AsLong(answer); });   // On a worker, with the
//       GIL.
//
// Thread: any, each future one at a time. Move-only. A future that is dropped lets its task run.
// The lower case is the name that programs written for this interface know.

#pragma once

#include <concepts>
#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "executors/python/calls/apart.h"
#include "executors/python/error.h"
#include "executors/python/tasks/or_hang.h"
#include "executors/python/tasks/task_calls.h"
#include "executors/python/tasks/task_state.h"
#include "executors/python/values/exception_text.h"
#include "executors/python/values/ref.h"
#include "framework/event_loop.h"
#include "framework/require.h"

namespace unirun::python {

namespace detail {

// How an outcome is kept. A Python object belongs to the state that the future shares.
template <class T>
struct Kept {
  using Type = T;
};
template <>
struct Kept<PyObject*> {
  using Type = Ref;
};

template <class T>
struct ResultValue {
  using Type = T;
};
template <class T>
struct ResultValue<Result<T>> {
  using Type = T;
};
template <class Function, class... Arguments>
using ValueOf = typename ResultValue<std::invoke_result_t<Function, Arguments...>>::Type;

// Within a catch. Apart, as calls may be nested very deep.
template <class T>
UNIRUN_APART Result<T> failure_by_exception() {
  return error_of_thrown();
}

// Calls what may return a Result or a plain value, and leave Python's exception set. Inlined, as
// calls may be nested very deep.
template <class T, class Function, class... Arguments>
[[gnu::always_inline]] inline Result<typename Kept<T>::Type> outcome_of_call(
    Function& function, Arguments&&... arguments) {
  if constexpr (std::is_same_v<T, PyObject*>) {
    Result<T> given(function(std::forward<Arguments>(arguments)...));
    Ref object = given.ok() ? Ref::steal(*given) : Ref();
    if (given.ok() && !object) return error_of_null();
    if (const auto nothing = check_nothing_left_over(); !nothing.ok()) return nothing.error();
    if (!given.ok()) return given.error();
    return object;
  } else if constexpr (std::is_void_v<std::invoke_result_t<Function&, Arguments...>>) {
    function(std::forward<Arguments>(arguments)...);
    if (const auto nothing = check_nothing_left_over(); !nothing.ok()) return nothing.error();
    return {};
  } else {
    Result<T> result(function(std::forward<Arguments>(arguments)...));
    if (const auto nothing = check_nothing_left_over(); !nothing.ok()) return nothing.error();
    return result;
  }
}

// The same, and it may throw; what does so in a program that is compiled without exceptions is a
// library's, and caught in ours.
template <class T, class Function, class... Arguments>
Result<typename Kept<T>::Type> outcome_of(Function& function, Arguments&&... arguments) noexcept {
#ifdef __cpp_exceptions
  try {
    return outcome_of_call<T>(function, std::forward<Arguments>(arguments)...);
  } catch (abi::__forced_unwind&) {
    hang();  // Python ends in this process, and a worker that was given up asked for the GIL.
  } catch (...) {
    return failure_by_exception<typename Kept<T>::Type>();
  }
#else
  std::optional<Result<typename Kept<T>::Type>> outcome;
  const auto call = [&] {
    outcome.emplace(outcome_of_call<T>(function, std::forward<Arguments>(arguments)...));
  };
  const auto thrown = error_thrown_by(
      [](const void* what) { (*static_cast<const decltype(call)*>(what))(); }, &call);
  if (thrown) return *thrown;
  return *std::move(outcome);
#endif
}

}  // namespace detail

// A task whose outcome is a T.
template <class T>
class Outcome : public TaskState {
 public:
  using Kept = typename detail::Kept<T>::Type;

  // REQUIRES, here and below: claimed.
  void settle(Result<Kept>&& outcome) noexcept { go_on(settle_only(std::move(outcome))); }
  // The same, but what follows is the caller's to run.
  [[nodiscard]] std::unique_ptr<Continuation> settle_only(Result<Kept>&& outcome) noexcept {
    if (!outcome.ok()) {
      error_ = std::make_unique<Error>(outcome.error());
    } else if constexpr (!std::is_void_v<Kept>) {
      value_.emplace(*std::move(outcome));
    }
    return announce_only();
  }
  void fail(Error error) noexcept override {
    error_ = std::make_unique<Error>(std::move(error));
    announce();
  }

  // REQUIRES, here and below: is_settled(). Null: there is a value.
  [[nodiscard]] const Error* error() const { return error_.get(); }
  // REQUIRES: there is no error.
  [[nodiscard]] auto& value() { return *value_; }
  // Both, once.
  [[nodiscard]] Result<Kept> take_outcome() {
    if (error_) return std::move(*error_);
    if constexpr (std::is_void_v<Kept>) {
      return {};
    } else {
      return std::move(*value_);
    }
  }

 private:
  // An error is large and rare, and so lies elsewhere.
  std::optional<std::conditional_t<std::is_void_v<Kept>, std::monostate, Kept>> value_;
  std::unique_ptr<Error> error_;
};

// One that calls a function.
template <class T, class Function>
class FunctionTask final : public Outcome<T> {
 public:
  explicit FunctionTask(Function function) : function_(std::move(function)) {}

  void run() noexcept override {
    auto outcome = detail::outcome_of<T>(*function_);
    function_.reset();  // What it holds is let go of here, and not wherever the future ends.
    if (this->claim(outcome.ok() ? Ending::executed : Ending::failed))
      this->settle(std::move(outcome));
  }

 private:
  std::optional<Function> function_;
};

template <class T>
class [[nodiscard]] future {
  using Kept = typename detail::Kept<T>::Type;

 public:
  // Of nothing: only assignment and valid() make sense.
  future() = default;
  explicit future(Shared<Outcome<T>> state) : state_(std::move(state)) {}
  future(future&&) noexcept = default;
  future& operator=(future&&) noexcept = default;

  // False for a default one, and for one that was given away to then() or co_await.
  [[nodiscard]] bool valid() const { return static_cast<bool>(state_); }
  // REQUIRES, here and below: valid().
  [[nodiscard]] bool is_ready() const { return state()->is_settled(); }
  [[nodiscard]] TaskId id() const { return state()->id; }

  // True once the outcome is there, false after `timeout`. On a worker both let go of the GIL and
  // serve what is submitted to this context meanwhile; elsewhere a GIL that is held is let go of.
  // On the thread of a loop of asyncio's, inside a coroutine, neither waits: false at once.
  [[nodiscard]] bool wait_for(Duration timeout) const {
    return wait_until_settled(*state(), deadline_after(timeout));
  }

  // Waits and takes the outcome, once. A PyObject* is borrowed from this future and lives as long;
  // where this future is a temporary it would be gone at once, and a Ref owns it instead.
  // Errors: the outcome's; loop_running, inside a coroutine, before it is ready: nothing is taken;
  // not_initialized, in a child of fork(), of a task of its parent's.
  [[nodiscard]] Result<T> get() & {
    if (!wait_until_settled(*state(), Instant::max())) return why_not_waited("get");
    if constexpr (std::is_same_v<T, PyObject*>) {
      if (const Error* const error = state()->error()) return *error;
      return state()->value().pointer();
    } else {
      return state()->take_outcome();
    }
  }
  [[nodiscard]] Result<Kept> get() && {
    if (!wait_until_settled(*state(), Instant::max())) return why_not_waited("get");
    return state()->take_outcome();
  }

  // Its share, for whoever follows the task by hand.
  [[nodiscard]] Shared<Outcome<T>> release() && {
    UNIRUN_REQUIRE(state_);
    return std::exchange(state_, {});
  }

  // Has the task not run, or its code interrupted. False: it had ended; the outcome stands.
  bool cancel() { return cancel_task(*state()); }

  // Calls `function` with the value; an error goes by it, to the future that this gives. Where T is
  // PyObject*: on a worker, with the GIL. Else on the loop whose thread this is, or, on any other
  // thread, on the one that settles, which is a worker with the GIL, and waits for it.
  template <class Function>
  auto then(Function function) {
    if constexpr (std::is_same_v<T, PyObject*>) {
      // The outcome, which the follow-up shares.
      return follow_up(std::move(function), [from = state().get()](auto task) {
        // An error needs no worker: they may all be busy, or gone.
        if (from->error() != nullptr) return run_here(std::move(task));
        enqueue_in(from->value().interpreter_id(), Shared<TaskState>(task.release()));
        return Next();
      });
    } else if (EventLoop* const loop = EventLoop::current(); loop != nullptr) {
      return then_on(*loop, std::move(function));
    } else {
      return follow_up(std::move(function), [](auto task) { return run_here(std::move(task)); });
    }
  }
  // Calls it on that loop, which outlives the task. A PyObject* may be passed on there, not
  // touched.
  template <class Function>
  auto then_on(EventLoop& loop, Function function) {
    return follow_up(std::move(function), [&loop](auto task) {
      Shared<TaskState> shared(task.release());
      loop.post([posted = std::make_shared<Posted>(std::move(shared))] { posted->run(); });
      return Next();
    });
  }

  // Resumes where then() would call, but never needs the GIL to do so: on the loop that awaits,
  // else on the thread that settles. Gives the Result; of a PyObject*, of a Ref that owns it.
  auto operator co_await() && { return Awaiter{std::move(*this), EventLoop::current()}; }

 private:
  using Next = std::unique_ptr<Continuation>;

  class Resumption final : public Continuation {
   public:
    Resumption(std::coroutine_handle<> awaiting, EventLoop* loop)
        : awaiting_(awaiting), loop_(loop) {}
    Next run() noexcept override {
      if (loop_ == nullptr) {
        awaiting_.resume();
      } else {
        loop_->post([awaiting = awaiting_] { awaiting.resume(); });
      }
      return nullptr;
    }

   private:
    std::coroutine_handle<> awaiting_;
    EventLoop* loop_;
  };

  struct Awaiter {
    future awaited;
    EventLoop* loop;
    [[nodiscard]] bool await_ready() const { return awaited.is_ready(); }
    void await_suspend(std::coroutine_handle<> awaiting) const {
      // Once it is handed over this may be gone.
      const Shared<Outcome<T>> state = awaited.state_;
      state->follow(std::make_unique<Resumption>(awaiting, loop));
    }
    Result<Kept> await_resume() { return awaited.state()->take_outcome(); }
  };

  // Calls a function with the outcome of another task.
  template <class U, class Function>
  class FollowUp final : public Outcome<U> {
   public:
    FollowUp(Shared<Outcome<T>> from, Function function)
        : from_(std::move(from)), function_(std::move(function)) {}

    void run() noexcept override { this->go_on(run_only()); }
    // The same, but what follows is the caller's to run.
    [[nodiscard]] Next run_only() noexcept {
      auto outcome = call();
      function_.reset();
      from_ = {};  // Else the last of a chain would own it to its first.
      if (!this->claim(outcome.ok() ? Ending::executed : Ending::failed)) return nullptr;
      return this->settle_only(std::move(outcome));
    }

   private:
    Result<typename Outcome<U>::Kept> call() noexcept {
      if (const Error* const error = from_->error()) return *error;
      if constexpr (std::is_void_v<T>) {
        return detail::outcome_of<U>(*function_);
      } else if constexpr (std::is_same_v<T, PyObject*>) {
        return detail::outcome_of<U>(*function_, from_->value().pointer());
      } else {
        return detail::outcome_of<U>(*function_, std::move(from_->value()));
      }
    }

    Shared<Outcome<T>> from_;
    std::optional<Function> function_;
  };

  // Hands a follow-up to where it is to run.
  template <class Task, class Go>
  class Relay final : public Continuation {
   public:
    Relay(Shared<Task> task, Go go) : task_(std::move(task)), go_(std::move(go)) {}
    Next run() noexcept override { return go_(std::move(task_)); }

   private:
    Shared<Task> task_;
    Go go_;
  };

  // What a loop has still to run. One that ends before it does fails it.
  class Posted {
   public:
    explicit Posted(Shared<TaskState> task) : task_(std::move(task)) {}
    Posted(const Posted&) = delete;
    Posted& operator=(const Posted&) = delete;
    ~Posted() {
      if (task_->claim_before_start(Ending::failed))
        task_->fail({.code = Errc::loop_stopped, .message = "the loop ended before it ran this"});
    }
    void run() const {
      if (task_->start()) task_->run();
    }

   private:
    const Shared<TaskState> task_;
  };

  template <class Task>
  static Next run_here(Shared<Task> task) {
    return task->start() ? task->run_only() : nullptr;
  }

  template <class Function, class Go>
  auto follow_up(Function function, Go go) {
    using U = typename decltype(value_given_to(std::declval<Function&>()))::Type;
    using Task = FollowUp<U, Function>;
    Shared<Task> task(new Task(state(), std::move(function)));
    task->add_owner();
    Shared<Outcome<U>> shared(task.get());
    const Shared<Outcome<T>> from = std::exchange(state_, {});
    from->follow(std::make_unique<Relay<Task, Go>>(std::move(task), std::move(go)));
    return future<U>(std::move(shared));
  }

  template <class Function>
  static auto value_given_to(Function& /*function*/) {
    if constexpr (std::is_void_v<T>) {
      return detail::ResultValue<Result<detail::ValueOf<Function&>>>{};
    } else {
      return detail::ResultValue<Result<detail::ValueOf<Function&, T>>>{};
    }
  }

  [[nodiscard]] const Shared<Outcome<T>>& state() const {
    UNIRUN_REQUIRE(state_);
    return state_;
  }

  Shared<Outcome<T>> state_;
};

}  // namespace unirun::python
