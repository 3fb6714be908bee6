// StateTable keeps values by key in 64 parts with a lock each. What has expired is gone for those
// who ask at once, and for the caps as soon as they are reached or its part is written to.
//
// Thread: any.

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "executors/python/state/counter.h"
#include "executors/python/state/state_store.h"
#include "framework/clock.h"

namespace unirun::python {

struct StateCaps {
  std::size_t max_entries;
  std::size_t max_bytes;  // Of keys and values.
};

class StateTable final : public StateStore {
 public:
  // Both must outlive it.
  StateTable(const CounterTable& counters, const Clock& clock, StateCaps caps);

  Result<std::optional<StoredValue>> read(std::string_view key) override;
  Result<bool> write(std::string_view key, std::string_view bytes, WriteOptions options) override;
  Result<bool> erase(std::string_view key) override;
  Result<std::vector<std::string>> keys(std::string_view prefix) override;
  Result<void> clear() override;
  Result<std::size_t> size() override;
  Result<void> make_counter(std::string_view key) override;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  struct Entry {
    std::string bytes;
    std::uint64_t version = 0;
    Instant expires = Instant::max();
  };
  using Entries = std::unordered_map<std::string, Entry, Hash, std::equal_to<>>;

  struct alignas(64) Part {
    std::mutex mutex;  // Guards the rest.
    Entries entries;
    std::set<std::pair<Instant, const std::string*>> expiries;  // Of those that do expire.
  };

  [[nodiscard]] Part& part_of(std::string_view key);

  // With the part's lock.
  Entries::iterator find(Part& part, std::string_view key);
  Result<bool> write_into(Part& part, std::string_view key, std::string_view bytes,
                          const WriteOptions& options, bool& is_full);
  void remove(Part& part, Entries::iterator entry);
  void remove_expired(Part& part);
  void set_expiry(Part& part, Entries::iterator entry, Instant expires);

  // Grows by so much, unless that is beyond a cap; a negative number shrinks it.
  bool grow(std::ptrdiff_t entries, std::ptrdiff_t bytes);
  [[nodiscard]] Error full(std::string_view key, std::size_t bytes) const;

  const CounterTable& counters_;
  const Clock& clock_;
  const StateCaps caps_;
  std::atomic<std::size_t> entries_{0};
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::uint64_t> version_{0};
  std::array<Part, 64> parts_;
};

}  // namespace unirun::python
