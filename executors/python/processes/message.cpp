#include "executors/python/processes/message.h"

#include <fmt/format.h>

#include <utility>

#include "executors/python/values/value_cbor.h"

namespace unirun::python {
namespace {

constexpr std::size_t length_bytes = 4;
// Bytes of room that a reader keeps.
constexpr std::size_t kept = std::size_t{1} << 20;

// A question is [id, word, body], an answer [id, true, value] or [id, false, error].
Value value_of(const Message& message) {
  if (const auto* question = std::get_if<Question>(&message.says))
    return Array{message.id, question->word, question->body};
  const Result<Value>& answer = std::get<Result<Value>>(message.says);
  if (answer.ok()) return Array{message.id, true, *answer};
  return Array{message.id, false, value_of_error(answer.error())};
}

const Value* body_of(const Message& message) {
  if (const auto* question = std::get_if<Question>(&message.says)) return &question->body;
  const Result<Value>& answer = std::get<Result<Value>>(message.says);
  return answer.ok() ? &*answer : nullptr;
}

// Nothing: this can be sent.
std::optional<Error> fault_of(const Value& value) {
  const auto bytes = to_cbor(value);
  return bytes.ok() ? std::nullopt : std::optional(bytes.error());
}

// Of the call that a body asks for: [..., function, args, kwargs]. Nothing: it is none, or its
// arguments are not to blame.
std::optional<Error> fault_of_argument(const Value& body) {
  const auto* const parts = body.get_if<Array>();
  if (parts == nullptr || parts->size() < 3) return {};
  const auto* const function = (*parts)[parts->size() - 3].get_if<std::string>();
  const auto* const args = (*parts)[parts->size() - 2].get_if<Array>();
  const auto* const kwargs = (*parts)[parts->size() - 1].get_if<Object>();
  if (function == nullptr || args == nullptr || kwargs == nullptr) return {};
  const auto named = [&](Error fault, const auto& place) {
    fault.message = fmt::format("{}(): argument {}: {}", *function, place, fault.message);
    return fault;
  };
  for (std::size_t i = 0; i < args->size(); ++i) {
    if (auto fault = fault_of((*args)[i])) return named(*std::move(fault), i + 1);
  }
  for (const auto& [key, value] : *kwargs) {
    if (auto fault = fault_of(value)) return named(*std::move(fault), fmt::format("'{}'", key));
  }
  return {};
}

// Why a message cannot go, with the place as whoever gave its body knows it.
Error unsendable(const Message& message, const Error& error) {
  const Value* const body = body_of(message);
  if (body == nullptr) return error;
  if (std::holds_alternative<Question>(message.says)) {
    if (auto fault = fault_of_argument(*body)) return *std::move(fault);
  }
  return fault_of(*body).value_or(error);
}

Error unreadable(std::string_view what) {
  return {.code = Errc::conversion,
          .message = fmt::format("a message of a worker process {}", what)};
}

Result<Message> message_of(Value value) {
  Array* const parts = value.get_if<Array>();
  if (parts == nullptr || parts->size() != 3 || !(*parts)[0].is_uint64())
    return unreadable("is no list of a number and two more");
  Message message{.id = (*parts)[0].as_uint64(), .says = {}};
  Value& body = (*parts)[2];
  if (const auto* word = (*parts)[1].get_if<std::string>()) {
    message.says = Question{*word, std::move(body)};
  } else if (const bool* is_good = (*parts)[1].get_if<bool>()) {
    message.says = *is_good ? Result<Value>(std::move(body)) : Result<Value>(error_of_value(body));
  } else {
    return unreadable("says neither what it asks nor how it answers");
  }
  return message;
}

std::string length_of(std::size_t size) {
  std::string bytes;
  for (std::size_t i = 0; i < length_bytes; ++i)
    bytes.push_back(static_cast<char>(size >> (8 * i) & 0xff));
  return bytes;
}

const std::string& text(const Array& parts, std::size_t index) {
  static const auto* const none = new std::string;
  const auto* found = parts[index].get_if<std::string>();
  return found != nullptr ? *found : *none;
}

}  // namespace

Result<std::string> to_frame(const Message& message) {
  const Result<std::string> bytes = to_cbor(value_of(message));
  if (!bytes) return unsendable(message, bytes.error());
  if (bytes->size() <= max_message) return length_of(bytes->size()) + *bytes;
  return Error{.code = Errc::conversion,
               .message = fmt::format("{} bytes are too much for a worker process, which takes {}",
                                      bytes->size(), max_message)};
}

Value value_of_error(const Error& error) {
  const bool payload_travels = to_cbor(error.payload).ok();
  return Array{static_cast<std::int64_t>(error.code), error.type, error.message, error.traceback,
               payload_travels ? error.payload : Value()};
}

Error error_of_value(const Value& value) {
  const auto* parts = value.get_if<Array>();
  if (parts == nullptr || parts->size() != 5 || !(*parts)[0].is_int64())
    return unreadable("holds an error that is none");
  const std::int64_t code = (*parts)[0].as_int64();
  if (code <= 0 || code > static_cast<std::int64_t>(Errc::unknown_function))
    return unreadable("holds an error of an unknown kind");
  return {.code = static_cast<Errc>(code),
          .type = text(*parts, 1),
          .message = text(*parts, 2),
          .traceback = text(*parts, 3),
          .payload = (*parts)[4]};
}

// What is done with goes once it is the greater part: no byte is moved more than once on average.
void MessageReader::feed(std::string_view bytes) {
  if (read_ > buffer_.size() / 2) buffer_.erase(0, std::exchange(read_, 0));
  buffer_.append(bytes);
}

// Nor is the room of a large message kept for the small ones after it.
void MessageReader::skip(std::size_t size) {
  read_ += size;
  if (read_ < buffer_.size()) return;
  if (buffer_.capacity() > kept) buffer_ = {};
  buffer_.clear();
  read_ = 0;
}

Result<std::optional<Message>> MessageReader::next() {
  const std::string_view left = std::string_view(buffer_).substr(read_);
  if (left.size() < length_bytes) return std::optional<Message>();
  std::size_t size = 0;
  for (std::size_t i = 0; i < length_bytes; ++i)
    size |= static_cast<std::size_t>(static_cast<unsigned char>(left[i])) << (8 * i);
  if (size > max_message) return unreadable("is too long");
  if (left.size() < length_bytes + size) return std::optional<Message>();
  Result<Value> value = from_cbor(left.substr(length_bytes, size));
  skip(length_bytes + size);
  if (!value) return value.error();
  Result<Message> message = message_of(*std::move(value));
  if (!message) return message.error();
  return std::optional(*std::move(message));
}

}  // namespace unirun::python
