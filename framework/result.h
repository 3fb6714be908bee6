// Errors are values: a Result<T> is a T or an Error, a Status is a Result<void>. Nothing on the
// loop throws; python_bindings/ turns an Error into an exception at the edge. Who has more to say
// of a failure than an Error holds (executors/python) brings a type of its own.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "framework/require.h"

namespace unirun {

// What went wrong, as a word that programs compare. The first group are OTP's own
// (supervisor.erl); to_string() gives the word as it stands in JSON.
enum class Errc {
  already_started,
  already_present,
  not_found,
  running,
  restarting,
  simple_one_for_one,
  invalid_child_spec,
  invalid_supervisor_spec,
  duplicate_id,
  start_failed,
  shutting_down,
  // Everyone else's.
  invalid_argument,
  invalid_configuration,
  system,
  io,
  unreachable_host,
  permission_denied,
  timeout,
  cancelled,
  unsupported,
};

[[nodiscard]] std::string_view to_string(Errc code);

struct Error {
  Errc code = Errc::invalid_argument;
  std::string message;  // Which, where, and what would be right.

  // "open /var/log/x: Permission denied", with the code `system`.
  [[nodiscard]] static Error from_errno(int error_number, std::string_view what);

  friend bool operator==(const Error&, const Error&) = default;
};

namespace detail {

// Elsewhere, and made apart: results lie on the stacks of calls that may be nested very deep, and
// an error, which is large, is seldom in one. Copies of a result share it.
template <class E>
[[gnu::noinline]] std::shared_ptr<const std::remove_cvref_t<E>> keep_error(E&& error) {
  return std::make_shared<const std::remove_cvref_t<E>>(std::forward<E>(error));
}

}  // namespace detail

template <class T, class E = Error>
class [[nodiscard]] Result {
 public:
  // NOLINTBEGIN(google-explicit-constructor): a value is a result, and so is an error.
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(const E& error) : state_(std::in_place_index<1>, detail::keep_error(error)) {}
  Result(E&& error) : state_(std::in_place_index<1>, detail::keep_error(std::move(error))) {}
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok().
  T& value() & {
    UNIRUN_REQUIRE(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    UNIRUN_REQUIRE(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    UNIRUN_REQUIRE(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !ok().
  const E& error() const {
    UNIRUN_REQUIRE(!ok());
    return **std::get_if<1>(&state_);
  }

 private:
  std::variant<T, std::shared_ptr<const E>> state_;
};

template <class E>
class [[nodiscard]] Result<void, E> {
 public:
  Result() = default;
  // NOLINTBEGIN(google-explicit-constructor)
  Result(const E& error) : error_(detail::keep_error(error)) {}
  Result(E&& error) : error_(detail::keep_error(std::move(error))) {}
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] bool ok() const { return error_ == nullptr; }
  explicit operator bool() const { return ok(); }
  const E& error() const {
    UNIRUN_REQUIRE(!ok());
    return *error_;
  }

 private:
  std::shared_ptr<const E> error_;  // Null: it went well.
};

using Status = Result<void>;

}  // namespace unirun
