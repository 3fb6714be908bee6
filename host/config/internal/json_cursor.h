// JsonCursor: a value in a document and the way to it, as a JSON pointer (RFC 6901). Looking for
// what is not there is no error, so a reader may walk a document that is not what it should be.

#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace unirun {

// `pointer` one step deeper, "~" and "/" of the key escaped.
[[nodiscard]] std::string deeper(std::string_view pointer, std::string_view key);
[[nodiscard]] std::string deeper(std::string_view pointer, std::size_t index);

class JsonCursor {
 public:
  JsonCursor() = default;  // Nowhere.
  JsonCursor(const nlohmann::json& value, std::string pointer)
      : value_(&value), pointer_(std::move(pointer)) {}

  [[nodiscard]] explicit operator bool() const { return value_ != nullptr; }
  [[nodiscard]] const std::string& pointer() const { return pointer_; }

  // REQUIRES: somewhere.
  [[nodiscard]] const nlohmann::json& value() const { return *value_; }

  // Nowhere if this is no object, or has no such member.
  [[nodiscard]] JsonCursor member(const std::string& key) const;

  // Nowhere if this is no array, or has no such element.
  [[nodiscard]] JsonCursor element(std::size_t index) const;

  // How many elements, if an array; else 0.
  [[nodiscard]] std::size_t size() const;

  // The string that stands here, else nothing.
  [[nodiscard]] const std::string* text() const;

 private:
  const nlohmann::json* value_ = nullptr;
  std::string pointer_;
};

}  // namespace unirun
