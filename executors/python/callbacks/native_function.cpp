#include "executors/python/callbacks/native_function.h"

#include <fmt/format.h>

#include "framework/futex.h"

namespace unirun::python {
namespace {

// The innermost call that runs on this thread.
thread_local NativeFrame* innermost_frame = nullptr;

}  // namespace

// ---- Calls and the end of them ----

bool NativeFunction::enter() {
  if ((calls_.fetch_add(one_call, std::memory_order_acq_rel) & closed) == 0) return true;
  leave();
  return false;
}

void NativeFunction::leave() {
  const std::uint32_t before = calls_.fetch_sub(one_call, std::memory_order_acq_rel);
  if ((before & closed) != 0) futex_wake_all(calls_);
}

void NativeFunction::close() {
  calls_.fetch_or(closed, std::memory_order_acq_rel);
  if (born_after_ != Forks::count()) return;
  std::uint32_t own = 0;
  for (const NativeFrame* frame = innermost_frame; frame != nullptr; frame = frame->outer_) {
    if (&frame->function_ == this && frame->entered_) own += one_call;
  }
  for (;;) {
    const std::uint32_t seen = calls_.load(std::memory_order_acquire);
    if ((seen & ~closed) == own) return;
    static_cast<void>(futex_wait(calls_, seen, nullptr));
  }
}

NativeFrame::NativeFrame(NativeFunction& function)
    : function_(function),
      outer_(std::exchange(innermost_frame, this)),
      entered_(function.enter()) {}

NativeFrame* NativeFrame::innermost() { return innermost_frame; }

void NativeFrame::set_innermost(NativeFrame* frame) { innermost_frame = frame; }

NativeFrame::~NativeFrame() {
  innermost_frame = outer_;
  if (entered_) function_.leave();
}

// ---- What is wrong with a call ----

Error unknown_function(std::string_view name) {
  return {.code = Errc::unknown_function,
          .message = fmt::format("no C++ function is registered under the name '{}'", name)};
}

namespace detail {

Answer answer_of(Value value) { return Result<Value>(std::move(value)); }
Answer answer_of(Result<Value> result) { return result; }
Answer answer_of(Result<void> result) {
  return result.ok() ? answer_of(Value()) : failed(result.error());
}
Answer failed(const Error& error) { return Result<Value>(error); }

Error wrong_count(const std::string& name, std::size_t least, std::size_t most, std::size_t got) {
  std::string expected = std::to_string(most);
  if (least != most) expected = fmt::format("{} to {}", least, most);
  return {.code = Errc::conversion,
          .message = fmt::format("{}(): expected {} argument{}, got {}", name, expected,
                                 most == 1 ? "" : "s", got)};
}

Error no_named(const std::string& name, const Kwargs& named) {
  return {.code = Errc::conversion,
          .message = fmt::format("{}(): got an argument by the name '{}', but a C++ function's "
                                 "arguments have no names: pass it by its place",
                                 name, named.begin()->first)};
}

Error wrong_argument(const std::string& name, std::size_t index, Fault fault) {
  Error error = std::move(fault).error();
  error.message = fmt::format("{}(): argument {}: {}", name, index + 1, error.message);
  return error;
}

}  // namespace detail
}  // namespace unirun::python
