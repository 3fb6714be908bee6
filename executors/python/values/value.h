// Value is what crosses between C++ and Python without either's objects: what JSON knows, bytes,
// and a Ref for what shall stay a Python object.
//
// Thread: any, each Value one at a time. Owns what it holds; 40 bytes, and cheap to move. Nesting
// is the caller's to bound: neither JSON nor Python takes more than max_depth levels of it.

#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "executors/python/values/ref.h"
#include "framework/result.h"

namespace unirun::python {

class Value;
struct Error;  // error.h; it holds a Value.

// Of arrays and objects in one another, to and from Python and JSON.
inline constexpr std::size_t max_depth = 512;

// Python's bytes, never taken for text.
struct Bytes {
  std::string data;
  friend bool operator==(const Bytes&, const Bytes&) = default;
};

using Array = std::vector<Value>;

// In the order of insertion, as Python's dict. Keys are UTF-8. A look-up asks one key after
// another: who has many to do in a large object makes a map of it.
class Object {
 public:
  using Entry = std::pair<std::string, Value>;
  using iterator = std::vector<Entry>::iterator;
  using const_iterator = std::vector<Entry>::const_iterator;

  Object() = default;
  // The last of two entries with one key counts, as in Python.
  Object(std::initializer_list<Entry> entries);

  // Null where there is none.
  [[nodiscard]] const Value* find(std::string_view key) const;
  [[nodiscard]] Value* find(std::string_view key);
  // Makes a null where there is none.
  Value& operator[](std::string_view key);
  // Adds without looking for the key. REQUIRES: it is not there.
  void append(std::string key, Value value);
  void reserve(std::size_t size);

  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] bool empty() const;
  [[nodiscard]] iterator begin();  // Whose keys are not the caller's to change.
  [[nodiscard]] iterator end();
  [[nodiscard]] const_iterator begin() const;
  [[nodiscard]] const_iterator end() const;

  // The order does not count, as in Python.
  friend bool operator==(const Object& one, const Object& other);

 private:
  std::vector<Entry> entries_;
};

// What a Value may be made of as a number: not bool, which is a kind of its own, nor characters, of
// which nobody knows whether they mean a number or a text.
template <class T>
concept Integer = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
                  !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> &&
                  !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

class Value {
 public:
  // In the order of the variant. An `unsigned_integer` is always beyond std::int64_t, so that no
  // number can be held in two ways.
  enum class Kind : std::uint8_t {
    null,
    boolean,
    integer,
    unsigned_integer,
    floating,
    string,
    bytes,
    array,
    object,
    ref,
  };

  // Implicit, so that {"size", 3} reads as what it is. Pointers other than text do not convert.
  Value() = default;
  Value(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): as all of these.
  template <std::same_as<bool> B>
  Value(B value) : held_(std::in_place_type<bool>, value) {}  // NOLINT
  template <Integer I>
  Value(I value) {  // NOLINT
    if (std::in_range<std::int64_t>(value)) {
      held_.emplace<std::int64_t>(static_cast<std::int64_t>(value));
    } else {
      held_.emplace<std::uint64_t>(static_cast<std::uint64_t>(value));
    }
  }
  template <std::floating_point F>
  Value(F value) : held_(std::in_place_type<double>, static_cast<double>(value)) {}     // NOLINT
  Value(std::string text) : held_(std::in_place_type<std::string>, std::move(text)) {}  // NOLINT
  Value(std::string_view text) : held_(std::in_place_type<std::string>, text) {}        // NOLINT
  Value(const char* text) : held_(std::in_place_type<std::string>, text) {}             // NOLINT
  Value(Bytes bytes) : held_(std::in_place_type<Bytes>, std::move(bytes)) {}            // NOLINT
  Value(Array array) : held_(std::in_place_type<Array>, std::move(array)) {}            // NOLINT
  Value(Object object) : held_(std::in_place_type<Object>, std::move(object)) {}        // NOLINT
  Value(Ref ref) : held_(std::in_place_type<Ref>, std::move(ref)) {}                    // NOLINT

  [[nodiscard]] Kind kind() const { return static_cast<Kind>(held_.index()); }
  [[nodiscard]] bool is_null() const { return kind() == Kind::null; }
  [[nodiscard]] bool is_bool() const { return kind() == Kind::boolean; }
  [[nodiscard]] bool is_int64() const { return kind() == Kind::integer; }
  [[nodiscard]] bool is_uint64() const {  // Any that is not below zero.
    return kind() == Kind::unsigned_integer || (is_int64() && as_int64() >= 0);
  }
  [[nodiscard]] bool is_double() const { return kind() == Kind::floating; }
  [[nodiscard]] bool is_string() const { return kind() == Kind::string; }
  [[nodiscard]] bool is_bytes() const { return kind() == Kind::bytes; }
  [[nodiscard]] bool is_array() const { return kind() == Kind::array; }
  [[nodiscard]] bool is_object() const { return kind() == Kind::object; }
  [[nodiscard]] bool is_ref() const { return kind() == Kind::ref; }

  // Each REQUIRES: is_...() of the same name. Nothing is converted: from_value() of conversion.h
  // does.
  [[nodiscard]] bool as_bool() const { return as<bool>(); }
  [[nodiscard]] std::int64_t as_int64() const { return as<std::int64_t>(); }
  [[nodiscard]] std::uint64_t as_uint64() const;
  [[nodiscard]] double as_double() const { return as<double>(); }
  [[nodiscard]] const std::string& as_string() const& { return as<std::string>(); }
  [[nodiscard]] const Bytes& as_bytes() const& { return as<Bytes>(); }
  [[nodiscard]] const Array& as_array() const& { return as<Array>(); }
  [[nodiscard]] const Object& as_object() const& { return as<Object>(); }
  [[nodiscard]] const Ref& as_ref() const& { return as<Ref>(); }
  [[nodiscard]] std::string& as_string() & { return as<std::string>(); }
  [[nodiscard]] Bytes& as_bytes() & { return as<Bytes>(); }
  [[nodiscard]] Array& as_array() & { return as<Array>(); }
  [[nodiscard]] Object& as_object() & { return as<Object>(); }
  [[nodiscard]] Ref& as_ref() & { return as<Ref>(); }
  [[nodiscard]] std::string as_string() && { return std::move(as<std::string>()); }
  [[nodiscard]] Bytes as_bytes() && { return std::move(as<Bytes>()); }
  [[nodiscard]] Array as_array() && { return std::move(as<Array>()); }
  [[nodiscard]] Object as_object() && { return std::move(as<Object>()); }
  [[nodiscard]] Ref as_ref() && { return std::move(as<Ref>()); }

  // Null where another kind is held. T: bool, std::int64_t, std::uint64_t (for what is beyond
  // std::int64_t), double, std::string, Bytes, Array, Object or Ref.
  template <class T>
  [[nodiscard]] const T* get_if() const {
    return std::get_if<T>(&held_);
  }
  template <class T>
  [[nodiscard]] T* get_if() {
    return std::get_if<T>(&held_);
  }

  // Of one kind and alike: 1 is not 1.0, and NaN is not itself. A Ref is equal to one of the same
  // object.
  friend bool operator==(const Value& one, const Value& other) { return one.held_ == other.held_; }

 private:
  using Held = std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string,
                            Bytes, Array, Object, Ref>;

  template <class T>
  [[nodiscard]] const T& as() const {
    const T* found = get_if<T>();
    UNIRUN_REQUIRE(found != nullptr);
    return *found;
  }
  template <class T>
  [[nodiscard]] T& as() {
    return const_cast<T&>(std::as_const(*this).template as<T>());
  }

  Held held_;
};

// "integer", "string" and so on, for messages.
[[nodiscard]] std::string_view to_string(Value::Kind kind);

// As JSON would have it, with bytes as b"..." and a Ref as <ref>, for messages: what would be
// longer than `at_most` characters ends in "...".
[[nodiscard]] std::string to_string(const Value& value, std::size_t at_most = 200);

// Bytes are JSON's binary, and objects lose their order. conversion: a Ref, a text that is not
// UTF-8, or too deep; with the place, as in "at .items[3].name: ...".
[[nodiscard]] unirun::Result<nlohmann::json, Error> to_json(const Value& value);
// The subtype of a binary is lost. conversion: too deep, or a value that the parser discarded.
[[nodiscard]] unirun::Result<Value, Error> from_json(const nlohmann::json& json);

// The offset of the first byte that is not part of a character of UTF-8 (surrogates are none);
// text.size() where there is no such byte.
[[nodiscard]] std::size_t utf8_length(std::string_view text);

inline Object::iterator Object::begin() { return entries_.begin(); }
inline Object::iterator Object::end() { return entries_.end(); }
inline Object::const_iterator Object::begin() const { return entries_.begin(); }
inline Object::const_iterator Object::end() const { return entries_.end(); }
inline std::size_t Object::size() const { return entries_.size(); }
inline bool Object::empty() const { return entries_.empty(); }

}  // namespace unirun::python
