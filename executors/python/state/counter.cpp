#include "executors/python/state/counter.h"

#include <fmt/format.h>

#include <bit>
#include <cstddef>
#include <cstring>
#include <new>

#include "framework/require.h"

namespace unirun::python {
namespace {

static_assert(std::atomic<std::int64_t>::is_always_lock_free,
              "an atomic with a lock is of one process");

constexpr std::uint64_t magic = 0x756e6972756e4331;  // Changes with the layout.
constexpr std::size_t max_name = 0xffff;

// The same in every process, whatever library it was built with: FNV-1a, stirred, since the lower
// bits choose the slot.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : name) hash = (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001b3;
  hash ^= hash >> 32;
  hash *= 0x9e3779b97f4a7c15;
  return hash ^ hash >> 29;
}

// Where a name lies, how long it is, and some of its hash, in one word that is written at once.
// Never 0, which is a slot without a name.
std::uint64_t word_of(std::uint64_t offset, std::size_t length, std::uint64_t hash) {
  return (offset + 1) | std::uint64_t{length} << 32 | (hash >> 48) << 48;
}
std::uint64_t offset_in(std::uint64_t word) { return (word & 0xffffffff) - 1; }
std::size_t length_in(std::uint64_t word) { return word >> 32 & 0xffff; }

std::uint64_t slots_for(const CounterLimits& limits) {
  return std::bit_ceil(std::uint64_t{2} * limits.max_counters + 2);  // Half of them stay empty.
}

}  // namespace

struct CounterTable::Header {
  std::uint64_t magic;
  CounterLimits limits;
  alignas(64) std::atomic<std::uint64_t> counters;
  std::atomic<std::uint64_t> name_bytes;
};

// A cache line each: neighbours have nothing to do with one another.
struct alignas(64) CounterTable::Slot {
  std::atomic<std::uint64_t> name;
  std::atomic<std::int64_t> value;
};

Result<CounterTable> CounterTable::create(CounterLimits limits) {
  UNIRUN_REQUIRE(limits.max_name_bytes < UINT32_MAX);
  const std::size_t size =
      sizeof(Header) + slots_for(limits) * sizeof(Slot) + limits.max_name_bytes;
  Result<SharedPage> page = SharedPage::create("unirun counters", size);
  if (!page) return page.error();
  auto* header = new (page->bytes().data()) Header{};
  header->limits = limits;
  header->magic = magic;
  return CounterTable(std::make_shared<const SharedPage>(std::move(*page)));
}

Result<CounterTable> CounterTable::attach(int descriptor) {
  Result<SharedPage> page = SharedPage::attach(descriptor);
  if (!page) return page.error();
  const std::size_t size = page->bytes().size();
  const auto* header = reinterpret_cast<const Header*>(page->bytes().data());
  if (size < sizeof(Header) || header->magic != magic ||
      sizeof(Header) + slots_for(header->limits) * sizeof(Slot) + header->limits.max_name_bytes !=
          size) {
    return Error{.code = Errc::unsupported,
                 .message = "a page that is not of counters, or of another version of unirun"};
  }
  return CounterTable(std::make_shared<const SharedPage>(std::move(*page)));
}

CounterTable::CounterTable(std::shared_ptr<const SharedPage> page)
    : page_(std::move(page)),
      header_(reinterpret_cast<Header*>(page_->bytes().data())),
      limits_(header_->limits),
      slot_mask_(slots_for(limits_) - 1),
      slots_(reinterpret_cast<Slot*>(page_->bytes().data() + sizeof(Header))),
      names_(reinterpret_cast<char*>(slots_ + slot_mask_ + 1)) {}

CounterTable::~CounterTable() = default;

std::string_view CounterTable::name_of(std::uint64_t word) const {
  const std::uint64_t offset = offset_in(word);
  if (offset + length_in(word) > limits_.max_name_bytes) return {};  // Somebody wrote over it.
  return {names_ + offset, length_in(word)};
}

std::atomic<std::int64_t>* CounterTable::find(std::string_view name) const {
  const std::uint64_t hash = hash_of(name);
  for (std::uint64_t probes = 0; probes <= slot_mask_; ++probes) {
    Slot& slot = slots_[(hash + probes) & slot_mask_];
    const std::uint64_t word = slot.name.load(std::memory_order_acquire);
    if (word == 0) return nullptr;
    if (word >> 48 == hash >> 48 && length_in(word) == name.size() && name_of(word) == name)
      return &slot.value;
  }
  return nullptr;
}

Result<std::atomic<std::int64_t>*> CounterTable::find_or_make(std::string_view name) const {
  if (auto* found = find(name)) return found;
  if (name.size() > max_name) {
    return Error{
        .code = Errc::conversion,
        .message = fmt::format("a counter's name of {} bytes: {} at most", name.size(), max_name)};
  }
  if (!take_place()) return full(name);
  const std::uint64_t hash = hash_of(name);
  const std::optional<std::uint64_t> word = write_name(name, hash);
  for (std::uint64_t probes = 0; word && probes <= slot_mask_; ++probes) {
    Slot& slot = slots_[(hash + probes) & slot_mask_];
    std::uint64_t there = 0;
    if (slot.name.compare_exchange_strong(there, *word, std::memory_order_acq_rel))
      return &slot.value;
    if (name_of(there) == name) {  // Another was quicker; what this one wrote of the name is lost.
      header_->counters.fetch_sub(1, std::memory_order_relaxed);
      return &slot.value;
    }
  }
  header_->counters.fetch_sub(1, std::memory_order_relaxed);
  return full(name);
}

bool CounterTable::take_place() const {
  std::uint64_t count = header_->counters.load(std::memory_order_relaxed);
  do {
    if (count >= limits_.max_counters) return false;
  } while (!header_->counters.compare_exchange_weak(count, count + 1, std::memory_order_relaxed));
  return true;
}

// Nobody reads it before its word stands in a slot.
std::optional<std::uint64_t> CounterTable::write_name(std::string_view name,
                                                      std::uint64_t hash) const {
  std::uint64_t offset = header_->name_bytes.load(std::memory_order_relaxed);
  do {
    if (offset + name.size() > limits_.max_name_bytes) return std::nullopt;
  } while (!header_->name_bytes.compare_exchange_weak(offset, offset + name.size(),
                                                      std::memory_order_relaxed));
  std::memcpy(names_ + offset, name.data(), name.size());
  return word_of(offset, name.size(), hash);
}

Error CounterTable::full(std::string_view name) const {
  return {
      .code = Errc::memory_limit,
      .message = fmt::format("no room for counter '{}': {} of {} counters, {} of {} bytes of names",
                             name.substr(0, 100), size(), limits_.max_counters,
                             header_->name_bytes.load(), limits_.max_name_bytes)};
}

std::vector<std::string> CounterTable::names(std::string_view prefix) const {
  std::vector<std::string> found;
  for (std::uint64_t i = 0; i <= slot_mask_; ++i) {
    const std::uint64_t word = slots_[i].name.load(std::memory_order_acquire);
    if (word != 0 && name_of(word).starts_with(prefix)) found.emplace_back(name_of(word));
  }
  return found;
}

std::size_t CounterTable::size() const { return header_->counters.load(std::memory_order_relaxed); }

void CounterTable::set_all_to_zero() const {
  for (std::uint64_t i = 0; i <= slot_mask_; ++i) {
    if (slots_[i].name.load(std::memory_order_acquire) != 0)
      slots_[i].value.store(0, std::memory_order_relaxed);
  }
}

}  // namespace unirun::python
