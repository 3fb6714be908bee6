#include "executors/python/values/value.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "executors/python/error.h"
#include "executors/python/values/conversion_fault.h"

namespace unirun::python {
namespace {

// Writes a value until there is no more room, so that a gigabyte costs no more than a line.
class Printer {
 public:
  explicit Printer(std::size_t at_most) : room_(at_most) {}

  void print(const Value& value) {
    if (full()) return;
    switch (value.kind()) {
      case Value::Kind::null: return put("null");
      case Value::Kind::boolean: return put(value.as_bool() ? "true" : "false");
      case Value::Kind::integer: return put(fmt::format("{}", value.as_int64()));
      case Value::Kind::unsigned_integer: return put(fmt::format("{}", value.as_uint64()));
      case Value::Kind::floating: return put(fmt::format("{}", value.as_double()));
      case Value::Kind::string: return print_text(value.as_string());
      case Value::Kind::bytes: return print_bytes(value.as_bytes().data);
      case Value::Kind::array: return print_array(value.as_array());
      case Value::Kind::object: return print_object(value.as_object());
      case Value::Kind::ref: return put("<ref>");
    }
  }

  std::string take() && {
    if (!full()) return std::move(text_);
    text_.resize(utf8_length(std::string_view(text_).substr(0, room_)));
    return std::move(text_) + "...";
  }

 private:
  [[nodiscard]] bool full() const { return text_.size() > room_; }
  void put(std::string_view part) { text_ += part; }

  void print_array(const Array& array) {
    put("[");
    for (const Value& item : array) {
      if (full()) return;
      if (&item != array.data()) put(", ");
      print(item);
    }
    put("]");
  }

  void print_object(const Object& object) {
    put("{");
    bool first = true;
    for (const auto& [key, item] : object) {
      if (full()) return;
      if (!std::exchange(first, false)) put(", ");
      print_text(key);
      put(": ");
      print(item);
    }
    put("}");
  }

  // What is not UTF-8 is written as bytes are.
  void print_text(std::string_view text) {
    put("\"");
    while (!text.empty() && !full()) {
      const std::string_view good = text.substr(0, utf8_length(text.substr(0, room_ + 4)));
      for (const char c : good)
        static_cast<unsigned char>(c) < 0x80 ? print_byte(c) : text_.push_back(c);
      text.remove_prefix(good.size());
      if (text.empty() || full()) break;
      print_byte(text.front());
      text.remove_prefix(1);
    }
    put("\"");
  }

  void print_bytes(std::string_view bytes) {
    put("b\"");
    for (const char c : bytes) {
      if (full()) return;
      print_byte(c);
    }
    put("\"");
  }

  void print_byte(char c) {
    switch (c) {
      case '"': return put("\\\"");
      case '\\': return put("\\\\");
      case '\n': return put("\\n");
      case '\r': return put("\\r");
      case '\t': return put("\\t");
      default: break;
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) return put(fmt::format("\\x{:02x}", byte));
    text_.push_back(c);
  }

  std::size_t room_;
  std::string text_;
};

// Both ways: false, with what is wrong in fault().
class ToJson {
 public:
  bool convert(const Value& value, nlohmann::json& json) {
    switch (value.kind()) {
      case Value::Kind::null: json = nullptr; return true;
      case Value::Kind::boolean: json = value.as_bool(); return true;
      case Value::Kind::integer: json = value.as_int64(); return true;
      case Value::Kind::unsigned_integer: json = value.as_uint64(); return true;
      case Value::Kind::floating: json = value.as_double(); return true;
      case Value::Kind::string: json = value.as_string(); return is_text(value.as_string());
      case Value::Kind::bytes: {
        const std::string& data = value.as_bytes().data;
        json = nlohmann::json::binary({data.begin(), data.end()});
        return true;
      }
      case Value::Kind::array: return convert_array(value.as_array(), json);
      case Value::Kind::object: return convert_object(value.as_object(), json);
      case Value::Kind::ref: break;
    }
    return fault_.is("a Ref to a Python object has no form in JSON");
  }

  [[nodiscard]] Error error() { return std::move(fault_).error(); }

 private:
  bool convert_array(const Array& array, nlohmann::json& json) {
    const DepthCount level(depth_);
    if (depth_ > max_depth) return fault_.is(too_deep());
    json = nlohmann::json::array();
    for (std::size_t i = 0; i < array.size(); ++i) {
      if (!convert(array[i], json.emplace_back())) return fault_.in(i);
    }
    return true;
  }

  bool convert_object(const Object& object, nlohmann::json& json) {
    const DepthCount level(depth_);
    if (depth_ > max_depth) return fault_.is(too_deep());
    json = nlohmann::json::object();
    for (const auto& [key, item] : object) {
      if (!is_text(key) || !convert(item, json[key])) return fault_.in(key);
    }
    return true;
  }

  bool is_text(std::string_view text) {
    const std::size_t good = utf8_length(text);
    return good == text.size() ||
           fault_.is(fmt::format("not UTF-8 at byte {}: bytes go as Bytes", good));
  }

  Fault fault_;
  std::size_t depth_ = 0;
};

class FromJson {
 public:
  bool convert(const nlohmann::json& json, Value& value) {
    using Type = nlohmann::json::value_t;
    switch (json.type()) {
      case Type::null: value = nullptr; return true;
      case Type::boolean: value = json.get<bool>(); return true;
      case Type::number_integer: value = json.get<std::int64_t>(); return true;
      case Type::number_unsigned: value = json.get<std::uint64_t>(); return true;
      case Type::number_float: value = json.get<double>(); return true;
      case Type::string: value = json.get_ref<const std::string&>(); return true;
      case Type::binary: {
        const auto& data = json.get_binary();
        value = Bytes{{data.begin(), data.end()}};
        return true;
      }
      case Type::array: return convert_array(json, value);
      case Type::object: return convert_object(json, value);
      case Type::discarded: break;
    }
    return fault_.is("a JSON value that its parser discarded");
  }

  [[nodiscard]] Error error() { return std::move(fault_).error(); }

 private:
  bool convert_array(const nlohmann::json& json, Value& value) {
    const DepthCount level(depth_);
    if (depth_ > max_depth) return fault_.is(too_deep());
    Array array(json.size());
    for (std::size_t i = 0; i < array.size(); ++i) {
      if (!convert(json[i], array[i])) return fault_.in(i);
    }
    value = std::move(array);
    return true;
  }

  bool convert_object(const nlohmann::json& json, Value& value) {
    const DepthCount level(depth_);
    if (depth_ > max_depth) return fault_.is(too_deep());
    Object object;
    object.reserve(json.size());
    for (const auto& [key, item] : json.items()) {
      Value converted;
      if (!convert(item, converted)) return fault_.in(key);
      object.append(key, std::move(converted));
    }
    value = std::move(object);
    return true;
  }

  Fault fault_;
  std::size_t depth_ = 0;
};

// The length of the character of UTF-8 that `text` begins with; 0 where it begins with none.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    // Neither what two bytes could say nor half of a pair.
    const unsigned low = first == 0xe0 ? 0xa0 : 0x80;
    const unsigned high = first == 0xed ? 0x9f : 0xbf;
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned low = first == 0xf0 ? 0x90 : 0x80;
    const unsigned high = first == 0xf4 ? 0x8f : 0xbf;
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

Object::Object(std::initializer_list<Entry> entries) {
  entries_.reserve(entries.size());
  for (const auto& [key, value] : entries) (*this)[key] = value;
}

const Value* Object::find(std::string_view key) const {
  const auto found = std::ranges::find(entries_, key, &Entry::first);
  return found != entries_.end() ? &found->second : nullptr;
}

Value* Object::find(std::string_view key) {
  return const_cast<Value*>(std::as_const(*this).find(key));
}

Value& Object::operator[](std::string_view key) {
  if (Value* found = find(key)) return *found;
  return entries_.emplace_back(key, nullptr).second;
}

void Object::append(std::string key, Value value) {
  entries_.emplace_back(std::move(key), std::move(value));
}

void Object::reserve(std::size_t size) { entries_.reserve(size); }

bool operator==(const Object& one, const Object& other) {
  if (one.size() != other.size()) return false;
  if (one.entries_ == other.entries_) return true;
  const auto by_key = [](const Object& object) {
    std::vector<const Object::Entry*> sorted;
    for (const Object::Entry& entry : object) sorted.push_back(&entry);
    std::ranges::sort(sorted, {}, &Object::Entry::first);
    return sorted;
  };
  return std::ranges::equal(by_key(one), by_key(other),
                            [](const auto* a, const auto* b) { return *a == *b; });
}

std::uint64_t Value::as_uint64() const {
  UNIRUN_REQUIRE(is_uint64());
  return is_int64() ? static_cast<std::uint64_t>(as_int64()) : as<std::uint64_t>();
}

std::string_view to_string(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::null: return "null";
    case Value::Kind::boolean: return "bool";
    case Value::Kind::integer: return "integer";
    case Value::Kind::unsigned_integer: return "unsigned integer";
    case Value::Kind::floating: return "float";
    case Value::Kind::string: return "string";
    case Value::Kind::bytes: return "bytes";
    case Value::Kind::array: return "array";
    case Value::Kind::object: return "object";
    case Value::Kind::ref: return "ref";
  }
  unreachable();
}

std::string to_string(const Value& value, std::size_t at_most) {
  Printer printer(at_most);
  printer.print(value);
  return std::move(printer).take();
}

Result<nlohmann::json> to_json(const Value& value) {
  ToJson converter;
  nlohmann::json json;
  if (!converter.convert(value, json)) return converter.error();
  return json;
}

Result<Value> from_json(const nlohmann::json& json) {
  FromJson converter;
  Value value;
  if (!converter.convert(json, value)) return converter.error();
  return value;
}

std::size_t utf8_length(std::string_view text) {
  std::size_t good = 0;
  while (good < text.size()) {
    const std::size_t length = character_length(text.substr(good));
    if (length == 0) break;
    good += length;
  }
  return good;
}

}  // namespace unirun::python
