// NativeFunction is a C++ function that Python code calls: its arguments come as Values, and what
// it gives goes back as one. One of plain C++ types is wrapped, and they are checked at each call;
// one of (Args, Kwargs) takes all as it comes.
//
// Thread: call() as FunctionOptions::thread says; the rest any.

#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "executors/python/calls/apart.h"
#include "executors/python/calls/call_spec.h"
#include "executors/python/error.h"
#include "executors/python/future.h"
#include "executors/python/interpreter/forks.h"
#include "executors/python/values/typed_value.h"
#include "executors/python/values/value.h"
#include "framework/event_loop.h"

namespace unirun::python {

// Where a function runs.
enum class On : std::uint8_t {
  caller,  // On the thread that calls.
  loop,    // On the thread of FunctionOptions::loop; the caller waits without the GIL.
};

struct FunctionOptions {
  On thread = On::caller;
  bool release_gil = true;    // While it runs on its caller's thread.
  bool async = false;         // Answers late: a coroutine has to await it, by async_call().
  EventLoop* loop = nullptr;  // Of On::loop; null: the one whose thread registers. Outlives it.
};

// What a function gives: now, or later.
using Answer = std::variant<Result<Value>, Shared<Outcome<Value>>>;

class NativeFunction {
 public:
  NativeFunction(std::string name, const FunctionOptions& options)
      : name_(std::move(name)), options_(options) {}
  NativeFunction(const NativeFunction&) = delete;
  NativeFunction& operator=(const NativeFunction&) = delete;
  virtual ~NativeFunction() = default;

  // Errors: conversion, which says which argument; what the function itself gives. May throw what
  // the function throws. REQUIRES: within a NativeFrame that has entered.
  [[nodiscard]] virtual Answer call(Args args, Kwargs kwargs) = 0;

  // The same where nobody waits: what would take its time elsewhere is an answer that comes later.
  [[nodiscard]] virtual Answer call_later(Args args, Kwargs kwargs) {
    return call(std::move(args), std::move(kwargs));
  }

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const FunctionOptions& options() const { return options_; }
  [[nodiscard]] bool is_closed() const {
    return (calls_.load(std::memory_order_acquire) & closed) != 0;
  }

  // Refuses calls from now on and waits for those that run, but for the ones in which this thread
  // stands itself. Not with the GIL, which they may need.
  void close();

 private:
  friend class NativeFrame;
  static constexpr std::uint32_t closed = 1;
  static constexpr std::uint32_t one_call = 2;

  [[nodiscard]] bool enter();
  void leave();

  const std::string name_;
  const FunctionOptions options_;
  const std::uint32_t born_after_ = Forks::count();  // So many: its calls may not be here.
  std::atomic<std::uint32_t> calls_{0};  // That run, above the bit; close() sleeps on it.
};

// A call that runs on this thread, as long as its scope.
class NativeFrame {
 public:
  explicit NativeFrame(NativeFunction& function);
  ~NativeFrame();
  NativeFrame(const NativeFrame&) = delete;
  NativeFrame& operator=(const NativeFrame&) = delete;

  // Of this thread; null: none. A thread that stands in for another takes its own from there.
  [[nodiscard]] static NativeFrame* innermost();
  static void set_innermost(NativeFrame* frame);

  [[nodiscard]] const NativeFunction& function() const { return function_; }
  // False: the function takes no more calls.
  [[nodiscard]] bool has_entered() const { return entered_; }

 private:
  friend class NativeFunction;
  NativeFunction& function_;
  NativeFrame* const outer_;
  const bool entered_;
};

// "no C++ function is registered under the name 'x'".
[[nodiscard]] Error unknown_function(std::string_view name);

// ---- Beneath ----

namespace detail {

template <class F>
struct Signature : Signature<decltype(&F::operator())> {};
template <class R, class... A>
struct Signature<R(A...)> {
  using Returned = R;
  using Taken = std::tuple<std::decay_t<A>...>;
};
template <class R, class... A>
struct Signature<R (*)(A...)> : Signature<R(A...)> {};
template <class R, class... A>
struct Signature<R (*)(A...) noexcept> : Signature<R(A...)> {};
template <class C, class R, class... A>
struct Signature<R (C::*)(A...)> : Signature<R(A...)> {};
template <class C, class R, class... A>
struct Signature<R (C::*)(A...) const> : Signature<R(A...)> {};
template <class C, class R, class... A>
struct Signature<R (C::*)(A...) noexcept> : Signature<R(A...)> {};
template <class C, class R, class... A>
struct Signature<R (C::*)(A...) const noexcept> : Signature<R(A...)> {};

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

// The outcome of a future of anything, as a Value.
class LaterValue final : public Outcome<Value> {
 public:
  void run() noexcept override {}
};
template <class T>
class IntoValue final : public Continuation {
 public:
  IntoValue(Shared<Outcome<T>> from, Shared<Outcome<Value>> to)
      : from_(std::move(from)), to_(std::move(to)) {}
  std::unique_ptr<Continuation> run() noexcept override {
    auto outcome = from_->take_outcome();
    if (!to_->claim(outcome.ok() ? Ending::executed : Ending::failed)) return nullptr;
    return to_->settle_only(value_of(std::move(outcome)));
  }

 private:
  static Result<Value> value_of(Result<typename Outcome<T>::Kept>&& outcome) {
    if (!outcome.ok()) return outcome.error();
    if constexpr (std::is_void_v<T>) {
      return Value();
    } else if constexpr (std::same_as<T, Value>) {
      return std::move(outcome);
    } else {
      return make_value(*std::move(outcome));
    }
  }

  const Shared<Outcome<T>> from_;
  const Shared<Outcome<Value>> to_;
};

// What a function returned, as its answer. What makes one is not inline: of what a Result might
// hold gcc 12 says, in programs that it is compiled into, that it "may be used uninitialized".
[[nodiscard]] Answer answer_of(Value value);
[[nodiscard]] Answer answer_of(Result<Value> result);
[[nodiscard]] Answer answer_of(Result<void> result);
[[nodiscard]] Answer failed(const Error& error);
template <class T>
Answer answer_of(Result<T> result) {
  return result.ok() ? answer_of(make_value(*std::move(result))) : failed(result.error());
}
template <class T>
Answer answer_of(future<T> later) {
  const Shared<Outcome<T>> from = std::move(later).release();
  Shared<Outcome<Value>> to(new LaterValue);
  from->follow(std::make_unique<IntoValue<T>>(from, to));
  return to;
}
template <class T>
Answer answer_of(T value) {
  return answer_of(make_value(std::move(value)));
}

// "echo(): takes 2 arguments, got 3".
[[nodiscard]] Error wrong_count(const std::string& name, std::size_t least, std::size_t most,
                                std::size_t got);
[[nodiscard]] Error no_named(const std::string& name, const Kwargs& named);
// "echo(): argument 2: expected ...".
[[nodiscard]] Error wrong_argument(const std::string& name, std::size_t index, Fault fault);

}  // namespace detail

template <class F>
class TypedFunction final : public NativeFunction {
 public:
  TypedFunction(std::string name, F function, const FunctionOptions& options)
      : NativeFunction(std::move(name), options), function_(std::move(function)) {}

  Answer call(Args args, Kwargs kwargs) override {
    if constexpr (std::same_as<Taken, std::tuple<Args, Kwargs>>) {
      return invoke(Taken(std::move(args), std::move(kwargs)));
    } else {
      Taken taken;
      const auto has_read =
          read(std::move(args).values(), kwargs, taken, std::make_index_sequence<most>());
      if (!has_read.ok()) return detail::failed(has_read.error());
      return invoke(std::move(taken));
    }
  }

 private:
  using Taken = typename detail::Signature<F>::Taken;
  using Returned = typename detail::Signature<F>::Returned;
  static constexpr std::size_t most = std::tuple_size_v<Taken>;

  // Optional ones at the end may be left out.
  template <std::size_t N = most>
  static constexpr std::size_t least() {
    if constexpr (N == 0) {
      return 0;
    } else if constexpr (detail::IsOptional<std::tuple_element_t<N - 1, Taken>>::value) {
      return least<N - 1>();
    } else {
      return N;
    }
  }

  template <std::size_t... I>
  UNIRUN_APART Result<void> read(Array given, const Kwargs& named, Taken& into,
                                 std::index_sequence<I...> /*indices*/) const {
    if (!named.empty()) return detail::no_named(name(), named);
    if (given.size() < least() || given.size() > most)
      return detail::wrong_count(name(), least(), most, given.size());
    std::size_t wrong = 0;
    Fault fault;
    if ((read_one<I>(given, std::get<I>(into), wrong, fault) && ...)) return {};
    return detail::wrong_argument(name(), wrong, std::move(fault));
  }

  template <std::size_t I, class T>
  static bool read_one(Array& given, T& into, std::size_t& wrong, Fault& fault) {
    if (I >= given.size() || Typed<T>::read(std::move(given[I]), into, fault)) return true;
    wrong = I;
    return false;
  }

  Answer invoke(Taken&& taken) {
    if constexpr (std::is_void_v<Returned>) {
      std::apply(function_, std::move(taken));
      return detail::answer_of(Value());
    } else {
      return detail::answer_of(std::apply(function_, std::move(taken)));
    }
  }

  F function_;
};

}  // namespace unirun::python
