#include "executors/python/values/value_cbor.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

#include "executors/python/values/conversion_fault.h"

namespace unirun::python {
namespace {

// The upper three bits of an item's first byte.
enum class Major : std::uint8_t { positive, negative, bytes, text, array, map, tag, simple };

// The lower five: the argument itself, or how long it is.
constexpr std::uint8_t in_1_byte = 24;
constexpr std::uint8_t in_8_bytes = 27;

constexpr char of_false = '\xf4';
constexpr char of_true = '\xf5';
constexpr char of_null = '\xf6';
constexpr char of_double = '\xfb';

class CborWriter {
 public:
  bool write(const Value& value) {
    switch (value.kind()) {
      case Value::Kind::null: return put(of_null);
      case Value::Kind::boolean: return put(value.as_bool() ? of_true : of_false);
      case Value::Kind::integer: return write_integer(value.as_int64());
      case Value::Kind::unsigned_integer: return head(Major::positive, value.as_uint64());
      case Value::Kind::floating: return write_double(value.as_double());
      case Value::Kind::string: return write_string(Major::text, value.as_string());
      case Value::Kind::bytes: return write_string(Major::bytes, value.as_bytes().data);
      case Value::Kind::array: return write_array(value.as_array());
      case Value::Kind::object: return write_object(value.as_object());
      case Value::Kind::ref:
        return fault_.is(
            "a Ref cannot be stored: it belongs to one interpreter; pickle what it is of");
    }
    unreachable();
  }

  [[nodiscard]] std::string take() { return std::move(out_); }
  [[nodiscard]] Error error() && { return std::move(fault_).error(); }

 private:
  bool put(char byte) {
    out_.push_back(byte);
    return true;
  }

  void put_number(std::uint64_t number, int bytes) {
    while (bytes-- > 0) out_.push_back(static_cast<char>(number >> (8 * bytes)));
  }

  bool head(Major major, std::uint64_t argument) {
    const auto upper = static_cast<std::uint8_t>(static_cast<std::uint8_t>(major) << 5);
    if (argument < in_1_byte) return put(static_cast<char>(upper | argument));
    const int power = argument <= 0xff         ? 0
                      : argument <= 0xffff     ? 1
                      : argument <= 0xffffffff ? 2
                                               : 3;
    put(static_cast<char>(upper | (in_1_byte + power)));
    put_number(argument, 1 << power);
    return true;
  }

  bool write_integer(std::int64_t number) {  // -1 - n is written as ~n.
    if (number >= 0) return head(Major::positive, static_cast<std::uint64_t>(number));
    return head(Major::negative, ~static_cast<std::uint64_t>(number));
  }

  bool write_double(double number) {
    put(of_double);
    put_number(std::bit_cast<std::uint64_t>(number), 8);
    return true;
  }

  bool write_string(Major major, const std::string& text) {
    head(major, text.size());
    out_ += text;
    return true;
  }

  bool write_array(const Array& array) {
    const DepthCount level(depth_);
    if (depth_ > max_depth) return fault_.is(too_deep());
    head(Major::array, array.size());
    for (std::size_t i = 0; i < array.size(); ++i) {
      if (!write(array[i])) return fault_.in(i);
    }
    return true;
  }

  bool write_object(const Object& object) {
    const DepthCount level(depth_);
    if (depth_ > max_depth) return fault_.is(too_deep());
    head(Major::map, object.size());
    for (const auto& [key, value] : object) {
      write_string(Major::text, key);
      if (!write(value)) return fault_.in(key);
    }
    return true;
  }

  std::string out_;
  std::size_t depth_ = 0;
  Fault fault_;
};

class CborReader {
 public:
  explicit CborReader(std::string_view bytes) : bytes_(bytes) {}

  Result<Value> read_all() {
    Value value;
    if (read(value) && at_ == bytes_.size()) return value;
    return Error{.code = Errc::conversion,
                 .message = fmt::format("not CBOR of a value: byte {} of {}", at_, bytes_.size())};
  }

 private:
  bool read(Value& value) {
    if (at_ >= bytes_.size()) return false;
    switch (bytes_[at_]) {
      case of_false: return accept(value, false);
      case of_true: return accept(value, true);
      case of_null: return accept(value, nullptr);
      case of_double: return read_double(value);
      default: return read_counted(value);
    }
  }

  bool accept(Value& value, Value read) {
    ++at_;
    value = std::move(read);
    return true;
  }

  bool read_number(int length, std::uint64_t& number) {
    if (bytes_.size() - at_ < static_cast<std::size_t>(length)) return false;
    number = 0;
    while (length-- > 0) number = number << 8 | static_cast<std::uint8_t>(bytes_[at_++]);
    return true;
  }

  bool read_double(Value& value) {
    ++at_;
    std::uint64_t bits = 0;
    if (!read_number(8, bits)) return false;
    value = std::bit_cast<double>(bits);
    return true;
  }

  bool read_head(Major& major, std::uint64_t& argument) {
    if (at_ >= bytes_.size()) return false;
    const auto first = static_cast<std::uint8_t>(bytes_[at_]);
    const std::uint8_t lower = first & 0x1f;
    if (lower > in_8_bytes) return false;
    ++at_;
    major = static_cast<Major>(first >> 5);
    argument = lower;
    return lower < in_1_byte || read_number(1 << (lower - in_1_byte), argument);
  }

  bool read_counted(Value& value) {
    Major major{};
    std::uint64_t argument = 0;
    if (!read_head(major, argument)) return false;
    switch (major) {
      case Major::positive: value = argument; return true;
      case Major::negative:
        if (argument > INT64_MAX) return false;
        value = static_cast<std::int64_t>(~argument);
        return true;
      case Major::text:
      case Major::bytes: return read_string(major, argument, value);
      case Major::array: return read_array(argument, value);
      case Major::map: return read_object(argument, value);
      case Major::tag:
      case Major::simple: return false;
    }
    unreachable();
  }

  bool cut(std::uint64_t length, std::string& text) {
    if (bytes_.size() - at_ < length) return false;
    text = bytes_.substr(at_, length);
    at_ += length;
    return true;
  }

  bool read_string(Major major, std::uint64_t length, Value& value) {
    std::string text;
    if (!cut(length, text)) return false;
    value = major == Major::text ? Value(std::move(text)) : Value(Bytes{std::move(text)});
    return true;
  }

  // Every item takes a byte at least: no count that the bytes do not bear out.
  bool read_array(std::uint64_t count, Value& value) {
    const DepthCount level(depth_);
    if (depth_ > max_depth || count > bytes_.size() - at_) return false;
    Array array;
    array.reserve(std::min<std::uint64_t>(count, 1'024));
    for (; count > 0; --count) {
      if (!read(array.emplace_back())) return false;
    }
    value = std::move(array);
    return true;
  }

  bool read_object(std::uint64_t count, Value& value) {
    const DepthCount level(depth_);
    if (depth_ > max_depth || count > bytes_.size() - at_) return false;
    Object object;
    object.reserve(std::min<std::uint64_t>(count, 1'024));
    for (; count > 0; --count) {
      Major major{};
      std::uint64_t length = 0;
      std::string key;
      Value item;
      if (!read_head(major, length) || major != Major::text || !cut(length, key) || !read(item))
        return false;
      object.append(std::move(key), std::move(item));
    }
    value = std::move(object);
    return true;
  }

  const std::string_view bytes_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
};

}  // namespace

Result<std::string> to_cbor(const Value& value) {
  CborWriter writer;
  if (!writer.write(value)) return std::move(writer).error();
  return writer.take();
}

Result<Value> from_cbor(std::string_view bytes) { return CborReader(bytes).read_all(); }

}  // namespace unirun::python
