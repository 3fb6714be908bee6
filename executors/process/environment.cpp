#include "executors/process/environment.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

namespace unirun {
namespace {

std::string_view name_of(std::string_view entry) { return entry.substr(0, entry.find('=')); }

bool name_is_less(const std::string& entry, std::string_view name) { return name_of(entry) < name; }

using Entries = std::vector<std::string>;

// Where the name stands, or would stand.
Entries::const_iterator place_of(const Entries& entries, std::string_view name) {
  return std::lower_bound(entries.begin(), entries.end(), name, name_is_less);
}

const std::string* find(const Entries& entries, std::string_view name) {
  const auto place = place_of(entries, name);
  return place != entries.end() && name_of(*place) == name ? &*place : nullptr;
}

// Every entry in force, in order of names: an own one stands before a shared one.
template <class Visit>
void merge(const Entries& own, const Entries& base, Visit&& visit) {
  auto next = own.begin();
  for (const std::string& entry : base) {
    while (next != own.end() && name_of(*next) < name_of(entry)) visit(*next++);
    if (next == own.end() || name_of(*next) != name_of(entry)) visit(entry);
  }
  for (; next != own.end(); ++next) visit(*next);
}

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

void Environment::set(std::string_view name, std::string_view value) {
  std::string entry;
  entry.reserve(name.size() + 1 + value.size());
  entry.append(name).append(1, '=').append(value);
  const auto place = own_.begin() + (place_of(own_, name) - own_.cbegin());
  if (place != own_.end() && name_of(*place) == name) {
    *place = std::move(entry);
  } else {
    own_.insert(place, std::move(entry));
  }
}

void Environment::erase(std::string_view name) {
  if (base_ && find(*base_, name) != nullptr) keep_own();
  const auto place = place_of(own_, name);
  if (place != own_.end() && name_of(*place) == name) own_.erase(place);
}

void Environment::keep_only(const std::vector<std::string_view>& names) {
  keep_own();
  std::erase_if(own_, [&](const std::string& entry) {
    return std::find(names.begin(), names.end(), name_of(entry)) == names.end();
  });
}

void Environment::share() {
  keep_own();
  base_ = std::make_shared<const Entries>(std::exchange(own_, {}));
}

void Environment::keep_own() {
  if (!base_) return;
  Entries all;
  merge(own_, *base_, [&](const std::string& entry) { all.push_back(entry); });
  own_ = std::move(all);
  base_.reset();
}

std::string_view Environment::get(std::string_view name) const {
  const std::string* entry = find(own_, name);
  if (entry == nullptr && base_) entry = find(*base_, name);
  return entry == nullptr ? std::string_view() : std::string_view(*entry).substr(name.size() + 1);
}

bool Environment::is_set(std::string_view name) const {
  return find(own_, name) != nullptr || (base_ && find(*base_, name) != nullptr);
}

std::vector<const char*> Environment::pointers() const {
  static const Entries none;
  const Entries& base = base_ ? *base_ : none;
  std::vector<const char*> pointers;
  pointers.reserve(own_.size() + base.size() + 1);
  merge(own_, base, [&](const std::string& entry) { pointers.push_back(entry.c_str()); });
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace unirun
