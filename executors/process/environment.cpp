#include "executors/process/environment.h"

#include <unistd.h>

#include <algorithm>

namespace unirun {
namespace {

std::string_view name_of(std::string_view entry) { return entry.substr(0, entry.find('=')); }

bool name_is_less(const std::string& entry, std::string_view name) { return name_of(entry) < name; }

}  // namespace

Environment Environment::of_this_process() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;  // No shell would see it either.
    environment.set(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

std::vector<std::string>::const_iterator Environment::find(std::string_view name) const {
  return std::lower_bound(entries_.begin(), entries_.end(), name, name_is_less);
}

void Environment::set(std::string_view name, std::string_view value) {
  std::string entry;
  entry.reserve(name.size() + 1 + value.size());
  entry.append(name).append(1, '=').append(value);
  const auto place = entries_.begin() + (find(name) - entries_.cbegin());
  if (place != entries_.end() && name_of(*place) == name) {
    *place = std::move(entry);
  } else {
    entries_.insert(place, std::move(entry));
  }
}

void Environment::erase(std::string_view name) {
  const auto place = find(name);
  if (place != entries_.end() && name_of(*place) == name) entries_.erase(place);
}

void Environment::keep_only(const std::vector<std::string_view>& names) {
  std::erase_if(entries_, [&](const std::string& entry) {
    return std::find(names.begin(), names.end(), name_of(entry)) == names.end();
  });
}

std::string_view Environment::get(std::string_view name) const {
  const auto place = find(name);
  if (place == entries_.end() || name_of(*place) != name) return {};
  return std::string_view(*place).substr(name.size() + 1);
}

bool Environment::is_set(std::string_view name) const {
  const auto place = find(name);
  return place != entries_.end() && name_of(*place) == name;
}

std::vector<const char*> Environment::pointers() const {
  std::vector<const char*> pointers;
  pointers.reserve(entries_.size() + 1);
  for (const std::string& entry : entries_) pointers.push_back(entry.c_str());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace unirun
