#include "host/requests/request_arguments.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace unirun {

using nlohmann::json;

bool RequestArguments::has(const char* name) const {
  return values_.is_object() && values_.contains(name) && !values_[name].is_null();
}

std::string RequestArguments::text(const char* name) const {
  return has(name) && values_[name].is_string() ? values_[name].get<std::string>() : "";
}

bool RequestArguments::flag(const char* name) const {
  return has(name) && (values_[name] == true || values_[name] == "true" || values_[name] == "1");
}

Result<std::uint64_t> RequestArguments::number(const char* name, std::uint64_t otherwise,
                                               std::uint64_t most) const {
  if (!has(name)) return otherwise;
  const json& value = values_[name];
  std::optional<std::uint64_t> number;
  if (value.is_number_integer() && value >= 0) number = value.get<std::uint64_t>();
  if (value.is_string()) {
    const auto& digits = value.get_ref<const std::string&>();
    std::uint64_t read = 0;
    const char* end = digits.data() + digits.size();
    if (std::from_chars(digits.data(), end, read) == std::from_chars_result{end, {}}) {
      number = read;
    }
  }
  if (number && *number <= most) return *number;
  return Error{Errc::invalid_argument, std::string(name) + " is a whole number from 0 to " +
                                           std::to_string(most) + ", not " + value.dump()};
}

std::vector<std::string> RequestArguments::words(const char* name) const {
  std::vector<std::string> words;
  if (!has(name)) return words;
  for (const json& word : values_[name]) {
    if (word.is_string() && values_[name].is_array()) words.push_back(word);
  }
  std::string rest = text(name);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    if (comma > 0) words.push_back(rest.substr(0, comma));
    rest.erase(0, comma + 1);
  }
  return words;
}

Result<ChildRef> RequestArguments::child() const {
  if (has("run")) {
    const Result<std::uint64_t> run = number("run", 0, UINT64_MAX);
    if (!run) return run.error();
    return ChildRef{RunId{*run}};
  }
  std::string id = text("id");
  if (id.empty()) return Error{Errc::invalid_argument, "which child? Give its id"};
  return ChildRef{std::move(id)};
}

}  // namespace unirun
