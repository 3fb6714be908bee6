#include "host/config/internal/json_cursor.h"

namespace unirun {

std::string deeper(std::string_view pointer, std::string_view key) {
  std::string result(pointer);
  result += '/';
  for (const char c : key) {
    if (c == '~') {
      result += "~0";
    } else if (c == '/') {
      result += "~1";
    } else {
      result += c;
    }
  }
  return result;
}

std::string deeper(std::string_view pointer, std::size_t index) {
  return std::string(pointer) + '/' + std::to_string(index);
}

JsonCursor JsonCursor::member(const std::string& key) const {
  if (value_ == nullptr || !value_->is_object()) return {};
  const auto found = value_->find(key);
  if (found == value_->end()) return {};
  return {*found, deeper(pointer_, key)};
}

JsonCursor JsonCursor::element(std::size_t index) const {
  if (index >= size()) return {};
  return {(*value_)[index], deeper(pointer_, index)};
}

std::size_t JsonCursor::size() const {
  return value_ != nullptr && value_->is_array() ? value_->size() : 0;
}

const std::string* JsonCursor::text() const {
  return value_ != nullptr ? value_->get_ptr<const std::string*>() : nullptr;
}

}  // namespace unirun
