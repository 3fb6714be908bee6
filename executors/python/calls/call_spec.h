// CallSpec is a call of a Python function as data: by name, with values.
//
// A value, as all here.

#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "executors/python/tasks/task_state.h"
#include "executors/python/values/value.h"
#include "framework/cancellation.h"
#include "framework/time.h"

namespace unirun::python {

// By position. {Array{1, 2}} is one argument, an array: a std::vector would be copied from it or
// hold it, as the compiler likes.
class Args {
 public:
  using const_iterator = Array::const_iterator;

  Args() = default;
  Args(std::initializer_list<Value> values) : values_(values) {}
  Args(Array values) : values_(std::move(values)) {}  // NOLINT(google-explicit-constructor)

  void push_back(Value value) { values_.push_back(std::move(value)); }

  [[nodiscard]] std::size_t size() const { return values_.size(); }
  [[nodiscard]] bool empty() const { return values_.empty(); }
  [[nodiscard]] const Value& operator[](std::size_t at) const { return values_[at]; }
  [[nodiscard]] const_iterator begin() const { return values_.begin(); }
  [[nodiscard]] const_iterator end() const { return values_.end(); }
  [[nodiscard]] const Array& values() const& { return values_; }
  [[nodiscard]] Array values() && { return std::move(values_); }

  friend bool operator==(const Args&, const Args&) = default;

 private:
  Array values_;
};

// By name.
using Kwargs = Object;

struct CallSpec {
  std::string module;    // "package.module".
  std::string function;  // In it: "name", or "Class.name".
  Args args{};
  Kwargs kwargs{};
};

struct CallOptions {
  std::optional<Duration> timeout{};    // From the call on, the time in the queue included.
  ContextId context = ContextId::none;  // Where; none: on any worker.
  std::uint8_t priority = 1;            // 0 is the most urgent, 3 the least; more is 3.
  CancellationToken token{};            // Has it not begin, or its code interrupted.
};

}  // namespace unirun::python
