#include "executors/python/state/state_service.h"

#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include "executors/python/values/value_cbor.h"

namespace unirun::python {
namespace {

// A request is [verb, key, ...]; an answer [true, result, null] or
// [false, code, message].
enum class Verb : std::int64_t { read, write, erase, keys, clear, size, make_counter };

Value request(Verb verb, std::string_view key = {}) {
  return Array{static_cast<std::int64_t>(verb), Bytes{std::string(key)}};
}

Error bad(std::string_view what) {
  return {.code = Errc::conversion,
          .message = std::string(what) + " of shared state is not readable"};
}

template <class T>
const T* item(const Value& message, std::size_t index) {
  const Array* array = message.get_if<Array>();
  return array != nullptr && index < array->size() ? (*array)[index].get_if<T>() : nullptr;
}

std::optional<std::int64_t> number(const Value& message, std::size_t index) {
  const auto* found = item<std::int64_t>(message, index);
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

// What of the result is a Value.
Value value_of(std::optional<StoredValue> stored) {
  if (!stored) return {};
  return Array{Bytes{std::move(stored->bytes)}, stored->version};
}
Value value_of(bool result) { return result; }
Value value_of(std::size_t result) { return result; }
Value value_of(std::vector<std::string> keys) {
  Array array;
  for (std::string& key : keys) array.emplace_back(Bytes{std::move(key)});
  return array;
}

template <class T>
Result<Value> as_value(Result<T> result) {
  if (!result) return result.error();
  if constexpr (std::is_void_v<T>) {
    return Value();
  } else {
    return value_of(std::move(*result));
  }
}

Result<Value> carry_out(StateStore& store, const Value& message) {
  const auto verb = number(message, 0);
  const Bytes* key = item<Bytes>(message, 1);
  if (!verb || key == nullptr) return bad("a request");
  switch (static_cast<Verb>(*verb)) {
    case Verb::read: return as_value(store.read(key->data));
    case Verb::erase: return as_value(store.erase(key->data));
    case Verb::keys: return as_value(store.keys(key->data));
    case Verb::clear: return as_value(store.clear());
    case Verb::size: return as_value(store.size());
    case Verb::make_counter: return as_value(store.make_counter(key->data));
    case Verb::write: {
      const Bytes* bytes = item<Bytes>(message, 2);
      if (bytes == nullptr) break;
      WriteOptions options;
      if (const auto ttl = number(message, 3)) options.ttl = Duration(*ttl);
      if (const auto version = number(message, 4))
        options.only_over = static_cast<std::uint64_t>(*version);
      return as_value(store.write(key->data, bytes->data, options));
    }
  }
  return bad("a request");
}

}  // namespace

std::string answer_of(StateStore& store, std::string_view bytes) {
  const Result<Value> message = from_cbor(bytes);
  Result<Value> result = message ? carry_out(store, *message) : message;
  Array answer(3);
  answer[0] = result.ok();
  if (result) {
    answer[1] = std::move(*result);
  } else {
    answer[1] = static_cast<int>(result.error().code);
    answer[2] = result.error().message;
  }
  return to_cbor(answer).value();  // No Ref, and not deep.
}

Result<Value> StateClient::ask(const Value& request) const {
  Result<std::string> bytes = to_cbor(request);
  if (!bytes) return bytes.error();
  const Result<std::string> answered = transport_(std::move(*bytes));
  if (!answered) return answered.error();
  Result<Value> answer = from_cbor(*answered);
  if (!answer) return answer.error();
  const bool* ok = item<bool>(*answer, 0);
  if (ok == nullptr || answer->as_array().size() != 3) return bad("an answer");
  if (*ok) return std::move(answer->as_array()[1]);
  const auto code = number(*answer, 1);
  const auto* message = item<std::string>(*answer, 2);
  if (!code || message == nullptr) return bad("an answer");
  return Error{.code = static_cast<Errc>(*code), .message = *message};
}

Result<std::optional<StoredValue>> StateClient::read(std::string_view key) {
  const Result<Value> answer = ask(request(Verb::read, key));
  if (!answer) return answer.error();
  if (answer->is_null()) return std::optional<StoredValue>();
  const Bytes* bytes = item<Bytes>(*answer, 0);
  const auto version = number(*answer, 1);
  if (bytes == nullptr || !version) return bad("an answer");
  return std::optional(StoredValue{bytes->data, static_cast<std::uint64_t>(*version)});
}

Result<bool> StateClient::write(std::string_view key, std::string_view bytes,
                                WriteOptions options) {
  Value message = request(Verb::write, key);
  Array& items = message.as_array();
  items.emplace_back(Bytes{std::string(bytes)});
  items.push_back(options.ttl ? Value(options.ttl->count()) : Value());
  items.push_back(options.only_over ? Value(*options.only_over) : Value());
  const Result<Value> answer = ask(message);
  if (!answer) return answer.error();
  if (!answer->is_bool()) return bad("an answer");
  return answer->as_bool();
}

Result<bool> StateClient::erase(std::string_view key) {
  const Result<Value> answer = ask(request(Verb::erase, key));
  if (!answer) return answer.error();
  if (!answer->is_bool()) return bad("an answer");
  return answer->as_bool();
}

Result<std::vector<std::string>> StateClient::keys(std::string_view prefix) {
  const Result<Value> answer = ask(request(Verb::keys, prefix));
  if (!answer) return answer.error();
  if (!answer->is_array()) return bad("an answer");
  std::vector<std::string> found;
  for (const Value& key : answer->as_array()) {
    if (!key.is_bytes()) return bad("an answer");
    found.push_back(key.as_bytes().data);
  }
  return found;
}

Result<void> StateClient::clear() {
  const Result<Value> answer = ask(request(Verb::clear));
  if (!answer) return answer.error();
  return {};
}

Result<std::size_t> StateClient::size() {
  const Result<Value> answer = ask(request(Verb::size));
  if (!answer) return answer.error();
  if (!answer->is_int64()) return bad("an answer");
  return static_cast<std::size_t>(answer->as_int64());
}

Result<void> StateClient::make_counter(std::string_view key) {
  const Result<Value> answer = ask(request(Verb::make_counter, key));
  if (!answer) return answer.error();
  return {};
}

}  // namespace unirun::python
