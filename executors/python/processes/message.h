// What a worker process and its owner say to each other: either asks, and the other answers under
// the number of the question, in whatever order. As bytes: a length (u32, little endian), then
// CBOR.
//
// Values; no thread of their own.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "executors/python/error.h"
#include "executors/python/values/value.h"

namespace unirun::python {

struct Question {
  std::string word;  // What is asked for: "call".
  Value body;
};

struct Message {
  std::uint64_t id = 0;  // Of the question, which whoever asks numbers.
  std::variant<Question, Result<Value>> says;
};

// What a message may take in bytes: more is a mistake, or not one of ours.
inline constexpr std::size_t max_message = std::size_t{1} << 30;

// With the length in front. Errors: conversion, with the place, which of a call is its argument: a
// Ref, too deep, or too long.
[[nodiscard]] Result<std::string> to_frame(const Message& message);

// An Error as a Value and back, without the exception itself.
[[nodiscard]] Value value_of_error(const Error& error);
[[nodiscard]] Error error_of_value(const Value& value);

class MessageReader {
 public:
  void feed(std::string_view bytes);

  // The next one; nothing: it has not arrived whole yet. Errors: conversion; nothing can be read
  // after that.
  [[nodiscard]] Result<std::optional<Message>> next();

 private:
  void skip(std::size_t size);

  std::string buffer_;
  std::size_t read_ = 0;  // Bytes at the front of `buffer_` that are done with.
};

}  // namespace unirun::python
