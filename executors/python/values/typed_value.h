// Between Values and the types of C++: what registered functions take and return, and what
// call_as<T> gives. Nothing is cut off: a number that does not fit is refused.
//
// from_value<T>() and make_value() know bool, the integers, float and double, std::string, Bytes,
// Ref, Value, and of these std::optional, std::vector, std::map and std::unordered_map by
// std::string, std::pair and std::tuple; make_value() also std::string_view and const char*.
//
// Thread: any. No Python is needed.

#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "executors/python/error.h"
#include "executors/python/values/conversion_fault.h"
#include "executors/python/values/value.h"

namespace unirun::python {

// How one type is read from a Value: specialise it for a type of your own, with
//   static bool read(Value&& value, T& into, Fault& fault);   // false: fault.is(...)
//   static Value write(T value);
template <class T>
struct Typed;

// conversion: "expected an integer from 0 to 255, got 300", with the place inside the value.
template <class T>
[[nodiscard]] Result<T> from_value(Value value) {
  Fault fault;
  T result{};
  if (!Typed<T>::read(std::move(value), result, fault)) return std::move(fault).error();
  return result;
}

// Of what may be an error already.
template <class T>
[[nodiscard]] Result<T> value_as(Result<Value> value) {
  if (!value.ok()) return value.error();
  return from_value<T>(*std::move(value));
}

template <class T>
[[nodiscard]] Value make_value(T value) {
  return Typed<T>::write(std::move(value));
}

// ---- Beneath ----

// "expected EXPECTED, got 300"; long values are cut short.
bool refuse(Fault& fault, std::string_view expected, const Value& got);
// "an integer from -128 to 127".
std::string integer_between(std::int64_t least, std::uint64_t most);

// What a Value holds as it is.
template <class T>
concept Held = std::same_as<T, std::string> || std::same_as<T, Bytes> || std::same_as<T, Object> ||
    std::same_as<T, Ref> || std::same_as<T, bool>;

template <>
struct Typed<Value> {
  static bool read(Value&& value, Value& into, Fault& /*fault*/) {
    into = std::move(value);
    return true;
  }
  static Value write(Value value) { return value; }
};

template <Held T>
struct Typed<T> {
  static bool read(Value&& value, T& into, Fault& fault) {
    T* const held = value.get_if<T>();
    if (held == nullptr) return refuse(fault, name(), value);
    into = std::move(*held);
    return true;
  }
  static Value write(T value) { return Value(std::move(value)); }

 private:
  static std::string_view name() {
    if constexpr (std::same_as<T, std::string>) return "a string";
    if constexpr (std::same_as<T, Bytes>) return "bytes";
    if constexpr (std::same_as<T, Object>) return "an object";
    if constexpr (std::same_as<T, Ref>) return "a Ref to a Python object";
    return "a bool";
  }
};

template <Integer T>
struct Typed<T> {
  static bool read(Value&& value, T& into, Fault& fault) {
    using Limits = std::numeric_limits<T>;
    if (const auto* number = value.get_if<std::int64_t>();
        number != nullptr && std::in_range<T>(*number)) {
      into = static_cast<T>(*number);
      return true;
    }
    if (const auto* number = value.get_if<std::uint64_t>();
        number != nullptr && std::in_range<T>(*number)) {
      into = static_cast<T>(*number);
      return true;
    }
    return refuse(fault, integer_between(Limits::min(), Limits::max()), value);
  }
  static Value write(T value) { return Value(value); }
};

// An integer passes for a number too, where it is the same number then.
template <std::floating_point T>
struct Typed<T> {
  static bool read(Value&& value, T& into, Fault& fault) {
    using Limits = std::numeric_limits<T>;
    if (const auto* number = value.get_if<double>()) {
      if (std::isfinite(*number) && std::abs(*number) > Limits::max()) {
        return refuse(fault, "a number that fits into a float", value);
      }
      into = static_cast<T>(*number);
      return true;
    }
    if (const auto* number = value.get_if<std::int64_t>()) {
      constexpr std::int64_t exact = std::int64_t{1} << std::min(Limits::digits, 62);
      into = static_cast<T>(*number);
      if (*number >= -exact && *number <= exact) return true;
    }
    return refuse(fault, "a number", value);
  }
  static Value write(T value) { return Value(value); }
};

template <>
struct Typed<std::string_view> {
  static Value write(std::string_view value) { return Value(value); }
};
template <>
struct Typed<const char*> {
  static Value write(const char* value) { return Value(value); }
};

template <class T>
struct Typed<std::optional<T>> {
  static bool read(Value&& value, std::optional<T>& into, Fault& fault) {
    if (value.is_null()) return into.reset(), true;
    return Typed<T>::read(std::move(value), into.emplace(), fault);
  }
  static Value write(std::optional<T> value) {
    return value.has_value() ? Typed<T>::write(*std::move(value)) : Value();
  }
};

template <class T>
struct Typed<std::vector<T>> {
  static bool read(Value&& value, std::vector<T>& into, Fault& fault) {
    Array* const array = value.get_if<Array>();
    if (array == nullptr) return refuse(fault, "an array", value);
    into.reserve(array->size());
    for (std::size_t i = 0; i < array->size(); ++i) {
      T item{};
      if (!Typed<T>::read(std::move((*array)[i]), item, fault)) return fault.in(i);
      into.push_back(std::move(item));
    }
    return true;
  }
  static Value write(std::vector<T> values) {
    Array array;
    array.reserve(values.size());
    for (auto&& value : values) array.push_back(Typed<T>::write(std::move(value)));
    return array;
  }
};

template <class Map>
concept MapByText = std::same_as<Map, std::map<std::string, typename Map::mapped_type>> ||
    std::same_as<Map, std::unordered_map<std::string, typename Map::mapped_type>>;

template <MapByText Map>
struct Typed<Map> {
  using T = typename Map::mapped_type;
  static bool read(Value&& value, Map& into, Fault& fault) {
    Object* const object = value.get_if<Object>();
    if (object == nullptr) return refuse(fault, "an object", value);
    for (auto& [key, entry] : *object) {
      T item{};
      if (!Typed<T>::read(std::move(entry), item, fault)) return fault.in(key);
      into.insert_or_assign(std::move(key), std::move(item));
    }
    return true;
  }
  static Value write(Map values) {
    Object object;
    object.reserve(values.size());
    for (auto& [key, value] : values) object.append(key, Typed<T>::write(std::move(value)));
    return object;
  }
};

// An array of that very length.
template <class Tuple>
concept TupleLike = requires {
  std::tuple_size<Tuple>::value;
};

template <TupleLike Tuple>
struct Typed<Tuple> {
  static bool read(Value&& value, Tuple& into, Fault& fault) {
    return read(std::move(value), into, fault, std::make_index_sequence<size>());
  }
  static Value write(Tuple value) {
    return std::apply(
        [](auto&&... items) {
          Array array;
          array.reserve(size);
          (array.push_back(Typed<std::decay_t<decltype(items)>>::write(std::move(items))), ...);
          return Value(std::move(array));
        },
        std::move(value));
  }

 private:
  static constexpr std::size_t size = std::tuple_size_v<Tuple>;

  template <std::size_t... I>
  static bool read(Value&& value, Tuple& into, Fault& fault,
                   std::index_sequence<I...> /*indices*/) {
    Array* const array = value.get_if<Array>();
    if (array == nullptr || array->size() != size) {
      return refuse(fault, "an array of " + std::to_string(size), value);
    }
    return ((Typed<std::tuple_element_t<I, Tuple>>::read(std::move((*array)[I]), std::get<I>(into),
                                                         fault) ||
             fault.in(I)) &&
            ...);
  }
};

}  // namespace unirun::python
