// SharedState is what Python and C++ share by name, in all interpreters and worker processes of a
// program: values, and counters. Values are kept as bytes, so that no object crosses an
// interpreter.
//
// The process that makes it owns it. Its worker processes attach: they share the page of the
// counters, and add to them as fast as anyone. For values they ask the owner, since there is then
// nothing that a killed process could leave half written or locked, values may have any size, and
// caps and expiry have one judge; what a round trip costs is no worse than what a lock that many
// processes want would, and what is hot is a counter.
//
// A name is a counter's or a value's, whichever was first: mixing them is `conversion`.
//
// A child that is forked has the owner's counters, but only a copy of its values: it must attach()
// like any other process.
//
// Thread: any. No lock of ours is held while `f` or a transport runs.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "executors/python/error.h"
#include "executors/python/state/counter.h"
#include "executors/python/state/state_store.h"
#include "framework/clock.h"
#include "framework/time.h"

namespace unirun::python {

struct SharedStateOptions {
  std::size_t max_entries = 1'000'000;
  std::size_t max_bytes = std::size_t{1} << 30;  // Of keys and values as CBOR.
  CounterLimits counters;
};

struct SetOptions {
  Duration ttl = Duration::max();  // How long it stands; Duration::max() for ever.
};

class SharedState {
 public:
  // Takes what serve() of the owner shall answer there, and gives its answer. Any thread. Errors:
  // worker_lost or finalized, if it cannot.
  using Transport = std::function<Result<std::string>(std::string request)>;

  // Errors: memory_limit, if there is no descriptor or memory for the counters. The clock must
  // outlive it.
  [[nodiscard]] static Result<SharedState> create(SharedStateOptions options = {});
  [[nodiscard]] static Result<SharedState> create(SharedStateOptions options, const Clock& clock);

  // In another process: `descriptor` is that of counters_descriptor(), and stays the caller's.
  [[nodiscard]] static Result<SharedState> attach(int descriptor, Transport transport);

  SharedState(SharedState&&) noexcept;
  SharedState& operator=(SharedState&&) noexcept;
  ~SharedState();

  // Errors of all: conversion, if the key is a counter's; worker_lost, if the owner has gone.

  // Errors: python_exception of type "builtins.KeyError", if there is none.
  [[nodiscard]] Result<Value> get(std::string_view key) const;
  // Nothing, if there is none.
  [[nodiscard]] Result<std::optional<Value>> find(std::string_view key) const;
  // Errors: conversion, for a value with a Ref or too deep; memory_limit, at a cap.
  Result<void> set(std::string_view key, const Value& value, SetOptions options = {}) const;
  // False, if there was none.
  Result<bool> erase(std::string_view key) const;
  // Of values that begin so, sorted.
  [[nodiscard]] Result<std::vector<std::string>> keys(std::string_view prefix = {}) const;
  // Takes the values away, and sets the counters to 0.
  Result<void> clear() const;
  // Of values.
  [[nodiscard]] Result<std::size_t> size() const;

  // Stores what `f` makes of the value (null: there is none), and gives it. If another writes
  // meanwhile `f` is called again, with the new one: it should do nothing else. An error of `f` is
  // passed on, and nothing is stored. What expires still does. Errors: overloaded, it was overtaken
  // 10,000 times in a row, as one is that writes the key itself.
  using Update = std::function<Result<Value>(const Value* current)>;
  Result<Value> update(std::string_view key, const Update& f) const;

  // Stores `desired` if the value is equal to `expected`, and says whether it was: *result, not the
  // result itself, which is true where nothing failed. What expires still does.
  Result<bool> compare_exchange(std::string_view key, const Value& expected,
                                const Value& desired) const;

  // The new value. A counter begins as 0, and wraps around in two's complement. Errors: conversion,
  // if the key is a value's or too long; memory_limit.
  Result<std::int64_t> increment(std::string_view key, std::int64_t by = 1) const;
  Result<std::int64_t> decrement(std::string_view key, std::int64_t by = 1) const;
  // Made where there is none: for those who count often, at the price of an atomic addition.
  [[nodiscard]] Result<Counter> counter(std::string_view key) const;
  // Names that begin so, sorted.
  [[nodiscard]] std::vector<std::string> counters(std::string_view prefix = {}) const;

  // For worker processes. The descriptor is its own.
  [[nodiscard]] int counters_descriptor() const;
  [[nodiscard]] std::string serve(std::string_view request) const;

 private:
  struct Parts;
  explicit SharedState(std::unique_ptr<Parts> parts);
  [[nodiscard]] Result<std::atomic<std::int64_t>*> find_or_make(std::string_view key) const;

  std::unique_ptr<Parts> parts_;
};

}  // namespace unirun::python
