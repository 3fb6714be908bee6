#include "executors/python/state/state_table.h"

#include <fmt/format.h>

#include <functional>
#include <optional>

namespace unirun::python {
namespace {

bool add_up_to(std::atomic<std::size_t>& sum, std::ptrdiff_t more, std::size_t limit) {
  std::size_t before = sum.load(std::memory_order_relaxed);
  std::size_t after = 0;
  do {
    after = before + static_cast<std::size_t>(more);  // Modulo 2^64, so that it may be negative.
    if (more > 0 && after > limit) return false;
  } while (!sum.compare_exchange_weak(before, after, std::memory_order_relaxed));
  return true;
}

Instant after(Instant now, Duration ttl) {
  return ttl >= Instant::max() - now ? Instant::max() : now + ttl;
}

Error is_a_counter(std::string_view key) {
  return {.code = Errc::conversion,
          .message = fmt::format("'{}' is a counter: read it with counter(), or take another key "
                                 "for the value",
                                 key.substr(0, 100))};
}

}  // namespace

StateTable::StateTable(const CounterTable& counters, const Clock& clock, StateCaps caps)
    : counters_(counters), clock_(clock), caps_(caps) {}

StateTable::Part& StateTable::part_of(std::string_view key) {
  return parts_[(Hash{}(key) >> 7) % parts_.size()];  // The table within takes the lower bits.
}

Result<std::optional<StoredValue>> StateTable::read(std::string_view key) {
  Part& part = part_of(key);
  const std::lock_guard lock(part.mutex);
  const auto found = find(part, key);
  if (found != part.entries.end())
    return std::optional(StoredValue{found->second.bytes, found->second.version});
  if (counters_.find(key) != nullptr) return is_a_counter(key);
  return std::optional<StoredValue>();
}

Result<bool> StateTable::write(std::string_view key, std::string_view bytes, WriteOptions options) {
  Part& part = part_of(key);
  for (const bool again : {false, true}) {
    bool is_full = false;
    {
      const std::lock_guard lock(part.mutex);
      Result<bool> written = write_into(part, key, bytes, options, is_full);
      if (!is_full) return written;
    }
    if (again) break;
    for (Part& other : parts_) {  // What has expired elsewhere makes room.
      const std::lock_guard lock(other.mutex);
      remove_expired(other);
    }
  }
  return full(key, bytes.size());
}

Result<bool> StateTable::write_into(Part& part, std::string_view key, std::string_view bytes,
                                    const WriteOptions& options, bool& is_full) {
  remove_expired(part);
  auto entry = part.entries.find(key);
  const bool is_new = entry == part.entries.end();
  if (is_new && counters_.find(key) != nullptr) return is_a_counter(key);
  if (options.only_over && *options.only_over != (is_new ? 0 : entry->second.version)) return false;

  const std::size_t before = is_new ? 0 : key.size() + entry->second.bytes.size();
  const auto more = static_cast<std::ptrdiff_t>(key.size() + bytes.size() - before);
  if (!grow(is_new ? 1 : 0, more)) {
    is_full = true;
    return false;
  }
  if (is_new) entry = part.entries.emplace(key, Entry{}).first;
  entry->second.bytes = bytes;
  entry->second.version = version_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (options.ttl) set_expiry(part, entry, after(clock_.now(), *options.ttl));
  return true;
}

Result<bool> StateTable::erase(std::string_view key) {
  Part& part = part_of(key);
  const std::lock_guard lock(part.mutex);
  const auto found = find(part, key);
  if (found != part.entries.end()) {
    remove(part, found);
    return true;
  }
  if (counters_.find(key) != nullptr) return is_a_counter(key);
  return false;
}

Result<std::vector<std::string>> StateTable::keys(std::string_view prefix) {
  std::vector<std::string> found;
  for (Part& part : parts_) {
    const std::lock_guard lock(part.mutex);
    remove_expired(part);
    for (const auto& [key, entry] : part.entries) {
      if (key.starts_with(prefix)) found.push_back(key);
    }
  }
  return found;
}

Result<void> StateTable::clear() {
  for (Part& part : parts_) {
    const std::lock_guard lock(part.mutex);
    while (!part.entries.empty()) remove(part, part.entries.begin());
  }
  counters_.set_all_to_zero();
  return {};
}

Result<std::size_t> StateTable::size() {
  std::size_t count = 0;
  for (Part& part : parts_) {
    const std::lock_guard lock(part.mutex);
    remove_expired(part);
    count += part.entries.size();
  }
  return count;
}

// Under the lock of the part, as what makes a value: one name is never both.
Result<void> StateTable::make_counter(std::string_view key) {
  Part& part = part_of(key);
  const std::lock_guard lock(part.mutex);
  if (find(part, key) != part.entries.end()) {
    return Error{.code = Errc::conversion,
                 .message = fmt::format("'{}' is a value: take another key for the counter, or "
                                        "erase() it first",
                                        key.substr(0, 100))};
  }
  const auto made = counters_.find_or_make(key);
  if (!made) return made.error();
  return {};
}

StateTable::Entries::iterator StateTable::find(Part& part, std::string_view key) {
  const auto found = part.entries.find(key);
  if (found == part.entries.end() || found->second.expires == Instant::max() ||
      found->second.expires > clock_.now())
    return found;
  remove(part, found);
  return part.entries.end();
}

void StateTable::remove(Part& part, Entries::iterator entry) {
  set_expiry(part, entry, Instant::max());
  grow(-1, -static_cast<std::ptrdiff_t>(entry->first.size() + entry->second.bytes.size()));
  part.entries.erase(entry);
}

void StateTable::remove_expired(Part& part) {
  if (part.expiries.empty()) return;
  const Instant now = clock_.now();
  while (!part.expiries.empty() && part.expiries.begin()->first <= now)
    remove(part, part.entries.find(*part.expiries.begin()->second));
}

void StateTable::set_expiry(Part& part, Entries::iterator entry, Instant expires) {
  Instant& current = entry->second.expires;
  if (current != Instant::max()) part.expiries.erase({current, &entry->first});
  current = expires;
  if (current != Instant::max()) part.expiries.emplace(current, &entry->first);
}

bool StateTable::grow(std::ptrdiff_t entries, std::ptrdiff_t bytes) {
  if (!add_up_to(entries_, entries, caps_.max_entries)) return false;
  if (add_up_to(bytes_, bytes, caps_.max_bytes)) return true;
  add_up_to(entries_, -entries, caps_.max_entries);
  return false;
}

Error StateTable::full(std::string_view key, std::size_t bytes) const {
  return {.code = Errc::memory_limit,
          .message = fmt::format("no room for {} bytes at '{}': {} of {} entries, {} of {} bytes",
                                 bytes, key.substr(0, 100), entries_.load(), caps_.max_entries,
                                 bytes_.load(), caps_.max_bytes)};
}

}  // namespace unirun::python
