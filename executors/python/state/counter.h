// Counters by name, which all processes that share the page see: an increment is one atomic
// addition, whoever does it. Values wrap around in two's complement: one more than the greatest
// std::int64_t is the least.
//
// No lock, so that a process may be killed anywhere: at worst the few bytes of a name that nobody
// uses are lost. A counter is never taken away; its name is its own for good.
//
// Thread: any, in any of the processes.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executors/python/state/shared_page.h"

namespace unirun::python {

// One counter. Keeps the page; cheap to copy, and to use cheaper still.
class Counter {
 public:
  // Each gives the new value.
  std::int64_t increment(std::int64_t by = 1) const { return add(*value_, by); }
  std::int64_t decrement(std::int64_t by = 1) const { return add(*value_, opposite(by)); }

  [[nodiscard]] std::int64_t value() const { return value_->load(std::memory_order_relaxed); }
  // Gives the old value.
  std::int64_t exchange(std::int64_t value) const {
    return value_->exchange(value, std::memory_order_relaxed);
  }

  // Without overflow, which is undefined for signed numbers alone.
  static std::int64_t opposite(std::int64_t by) {
    return static_cast<std::int64_t>(0 - static_cast<std::uint64_t>(by));
  }
  static std::int64_t add(std::atomic<std::int64_t>& value, std::int64_t by) {
    const std::int64_t before = value.fetch_add(by, std::memory_order_relaxed);
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(before) +
                                     static_cast<std::uint64_t>(by));
  }

 private:
  friend class CounterTable;
  Counter(std::shared_ptr<const SharedPage> page, std::atomic<std::int64_t>* value)
      : page_(std::move(page)), value_(value) {}

  std::shared_ptr<const SharedPage> page_;
  std::atomic<std::int64_t>* value_;
};

struct CounterLimits {
  std::uint32_t max_counters = 65'536;
  std::uint32_t max_name_bytes = 4u << 20;  // Of all names.
};

class CounterTable {
 public:
  // Errors: memory_limit. REQUIRES: max_name_bytes < 2^32 - 1.
  [[nodiscard]] static Result<CounterTable> create(CounterLimits limits);
  // Errors: unsupported, if the page is not one of counters; memory_limit.
  [[nodiscard]] static Result<CounterTable> attach(int descriptor);

  CounterTable(CounterTable&&) noexcept = default;
  CounterTable& operator=(CounterTable&&) = delete;
  ~CounterTable();

  // Null where there is none. It lives as long as a table or a Counter of this process.
  [[nodiscard]] std::atomic<std::int64_t>* find(std::string_view name) const;
  [[nodiscard]] Counter counter(std::atomic<std::int64_t>* found) const { return {page_, found}; }

  // Makes it, with 0, where there is none. Errors: memory_limit, with the figures; conversion, for
  // a name of more than 65,535 bytes.
  [[nodiscard]] Result<std::atomic<std::int64_t>*> find_or_make(std::string_view name) const;

  [[nodiscard]] std::vector<std::string> names(std::string_view prefix = {}) const;
  [[nodiscard]] std::size_t size() const;
  void set_all_to_zero() const;

  // For a process that shall attach() to it.
  [[nodiscard]] int descriptor() const { return page_->descriptor(); }

 private:
  struct Header;
  struct Slot;

  explicit CounterTable(std::shared_ptr<const SharedPage> page);
  [[nodiscard]] std::string_view name_of(std::uint64_t word) const;
  [[nodiscard]] bool take_place() const;
  [[nodiscard]] std::optional<std::uint64_t> write_name(std::string_view name,
                                                        std::uint64_t hash) const;
  [[nodiscard]] Error full(std::string_view name) const;

  std::shared_ptr<const SharedPage> page_;
  Header* header_;
  // Read once: what another process may write there later is not believed.
  CounterLimits limits_;
  std::uint64_t slot_mask_ = 0;
  Slot* slots_ = nullptr;
  char* names_ = nullptr;
};

}  // namespace unirun::python
