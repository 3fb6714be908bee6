#include "host/config/internal/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <unordered_map>

#include "host/config/internal/json_cursor.h"

namespace unirun {
namespace {

using nlohmann::json;

// Tells someone else how far the parser has read.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* position, std::size_t& count)
      : position_(position), count_(&count) {}
  reference operator*() const { return *position_; }
  CountingIterator& operator++() {
    ++position_;
    ++*count_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) {
    return a.position_ == b.position_;
  }
  friend bool operator!=(const CountingIterator& a, const CountingIterator& b) { return !(a == b); }

 private:
  const char* position_;
  std::size_t* count_;
};

class Lines {
 public:
  explicit Lines(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') starts_.push_back(i + 1);
    }
  }
  void place(ConfigFault& fault, std::size_t offset) const {
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), offset);
    fault.line = static_cast<unsigned>(after - starts_.begin());
    fault.column = static_cast<unsigned>(offset - *std::prev(after) + 1);
  }

 private:
  std::vector<std::size_t> starts_{0};
};

// Where a member's key, or an element, begins: bytes from the start of the text, by JSON pointer.
using Offsets = std::unordered_map<std::string, std::size_t>;

// Listens to the parser: finds duplicate keys and the syntax error, and notes offsets if asked.
class Surveyor final : public nlohmann::json_sax<json> {
 public:
  Surveyor(std::string_view text, const std::size_t& read, Offsets* offsets)
      : text_(text), read_(read), offsets_(offsets) {}

  std::vector<ConfigFault> faults;

  bool null() override { return value(token_start(4)); }
  bool boolean(bool is_true) override { return value(token_start(is_true ? 4 : 5)); }
  bool number_integer(number_integer_t) override { return value(number_start()); }
  bool number_unsigned(number_unsigned_t) override { return value(number_start()); }
  bool number_float(number_float_t, const string_t&) override { return value(number_start()); }
  bool string(string_t&) override { return value(string_start()); }
  bool binary(binary_t&) override { return true; }  // JSON has none.

  bool start_object(std::size_t) override { return open(false); }
  bool start_array(std::size_t) override { return open(true); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& key) override;
  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& error) override;

 private:
  struct Level {
    bool is_array = false;
    std::size_t next_index = 0;
    std::size_t pointer_size = 0;  // Of the container itself.
    std::set<std::string> keys;
  };

  bool value(std::size_t offset) {
    enter(offset);
    leave();
    return true;
  }
  bool open(bool is_array);
  bool close() {
    levels_.pop_back();
    leave();
    return true;
  }
  void enter(std::size_t offset);
  void leave() {
    if (!levels_.empty()) pointer_.resize(levels_.back().pointer_size);
  }

  // The parser has just read the last character of a token, so its first is found backwards. After
  // a number it has read one character more, unless the text ends there.
  [[nodiscard]] std::size_t token_start(std::size_t size) const {
    return read_ >= size ? read_ - size : 0;
  }
  [[nodiscard]] std::size_t number_start() const;
  [[nodiscard]] std::size_t string_start() const;

  std::string_view text_;
  const std::size_t& read_;
  Offsets* offsets_;
  std::string pointer_;
  std::vector<Level> levels_;
};

bool Surveyor::open(bool is_array) {
  enter(token_start(1));
  if (levels_.size() == max_json_depth) {
    ConfigFault fault;
    fault.expected = fmt::format("at most {} levels", max_json_depth);
    fault.message = "nested too deep; expected " + fault.expected;
    Lines(text_).place(fault, token_start(1));
    faults.push_back(std::move(fault));
    return false;
  }
  levels_.push_back({is_array, 0, pointer_.size(), {}});
  return true;
}

void Surveyor::enter(std::size_t offset) {
  if (!levels_.empty() && levels_.back().is_array) {
    pointer_ += '/';
    pointer_ += std::to_string(levels_.back().next_index++);
  }
  // A member is known already, by its key.
  if (offsets_ != nullptr) offsets_->emplace(pointer_, offset);
}

bool Surveyor::key(string_t& key) {
  Level& object = levels_.back();
  pointer_ = deeper(std::string_view(pointer_).substr(0, object.pointer_size), key);
  if (offsets_ != nullptr) offsets_->emplace(pointer_, string_start());
  if (object.keys.insert(key).second) return true;
  ConfigFault fault;
  fault.pointer = pointer_;
  fault.found = json(key).dump();
  fault.expected = "each key once";
  fault.message = fmt::format("the key {} stands here twice; keep one", fault.found);
  Lines(text_).place(fault, string_start());
  faults.push_back(std::move(fault));
  return true;
}

std::size_t Surveyor::number_start() const {
  const auto of_number = [&](std::size_t i) {
    return std::isdigit(static_cast<unsigned char>(text_[i])) != 0 || text_[i] == '-' ||
           text_[i] == '+' || text_[i] == '.' || text_[i] == 'e' || text_[i] == 'E';
  };
  std::size_t start = std::min(read_, text_.size());
  if (start > 0 && !of_number(start - 1)) --start;
  while (start > 0 && of_number(start - 1)) --start;
  return start;
}

std::size_t Surveyor::string_start() const {
  const auto is_escaped = [&](std::size_t i) {
    std::size_t slashes = 0;
    while (slashes < i && text_[i - 1 - slashes] == '\\') ++slashes;
    return slashes % 2 == 1;
  };
  if (read_ < 2) return 0;
  std::size_t start = read_ - 2;  // Before the closing quote.
  while (start > 0 && (text_[start] != '"' || is_escaped(start))) --start;
  return start;
}

std::string after_first(const std::string& text, std::string_view mark) {
  const std::size_t found = text.find(mark);
  return found == std::string::npos ? text : text.substr(found + mark.size());
}

// The library says "[json.exception...] parse error at line 3, column 5: syntax error while parsing
// value - unexpected ']'; expected ...": the sentence is good, its beginning is ours to write.
bool Surveyor::parse_error(std::size_t position, const std::string& last_token,
                           const nlohmann::detail::exception& error) {
  const std::size_t offset = std::min(position > 0 ? position - 1 : 0, text_.size());
  const std::string sentence = after_first(after_first(error.what(), "] "), ": ");
  ConfigFault fault;
  Lines(text_).place(fault, offset);
  const std::size_t expected = sentence.find("; expected ");
  if (expected != std::string::npos) fault.expected = sentence.substr(expected + 11);
  fault.message = "this is not JSON: " + sentence;
  const char last = last_token.empty() ? ' ' : last_token.back();
  if (last == ']' || last == '}') {
    std::size_t before = offset;
    while (before > 0 && std::isspace(static_cast<unsigned char>(text_[before - 1])) != 0) --before;
    if (before > 0 && text_[before - 1] == ',') {
      fault.message += fmt::format("; remove the comma before this \"{}\"", last);
    }
  }
  faults.push_back(std::move(fault));
  return false;
}

bool survey(std::string_view text, std::vector<ConfigFault>& faults, Offsets* offsets) {
  std::size_t read = 0;
  Surveyor surveyor(text, read, offsets);
  const bool complete = json::sax_parse(
      CountingIterator(text.data(), read), CountingIterator(text.data() + text.size(), read),
      &surveyor, nlohmann::detail::input_format_t::json, true, /*ignore_comments=*/true);
  faults = std::move(surveyor.faults);
  return complete;
}

}  // namespace

ParsedText parse_text(std::string_view text) {
  ParsedText parsed;
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    ConfigFault fault;
    fault.line = fault.column = 1;
    fault.expected = "an object with \"supervisors\"";
    fault.message = "there is nothing in it; expected " + fault.expected;
    parsed.faults.push_back(std::move(fault));
    return parsed;
  }
  parsed.is_json = survey(text, parsed.faults, nullptr);
  if (parsed.is_json) {
    parsed.document = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false,
                                  /*ignore_comments=*/true);
  }
  return parsed;
}

// Positions cost a string for each value, so they are looked up only once there is a fault.
void locate(std::vector<ConfigFault>& faults, std::string_view text) {
  const bool needed = std::any_of(faults.begin(), faults.end(),
                                  [](const ConfigFault& fault) { return fault.line == 0; });
  if (!needed) return;
  Offsets offsets;
  std::vector<ConfigFault> known_already;
  survey(text, known_already, &offsets);
  const Lines lines(text);
  for (ConfigFault& fault : faults) {
    if (fault.line != 0) continue;
    std::string pointer = fault.pointer;
    auto found = offsets.find(pointer);
    while (found == offsets.end() && !pointer.empty()) {
      pointer.resize(pointer.rfind('/'));
      found = offsets.find(pointer);
    }
    if (found != offsets.end()) lines.place(fault, found->second);
  }
}

}  // namespace unirun
