#include "executors/python/state/shared_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "executors/python/state/state_service.h"
#include "executors/python/state/state_table.h"
#include "executors/python/values/value_cbor.h"

namespace unirun::python {
namespace {

const SystemClock system_clock;

Error no_such_key(std::string_view key) {
  return {.code = Errc::python_exception,
          .type = "builtins.KeyError",
          .message = fmt::format("'{}'", key.substr(0, 100)),
          .payload = Array{Value(key)}};
}

// So often one may be overtaken by others in a row: a function that writes its own key always is.
constexpr int attempts = 10'000;

// To one that stands, and again until nobody else writes meanwhile.
template <class Attempt>
auto until_undisturbed(StateStore& store, std::string_view key, Attempt attempt) {
  using Outcome = typename std::invoke_result_t<Attempt&, std::optional<StoredValue>>::value_type;
  for (int overtaken = 0; overtaken < attempts; ++overtaken) {
    auto stored = store.read(key);
    if (!stored) return Outcome(stored.error());
    if (auto outcome = attempt(std::move(*stored))) return std::move(*outcome);
  }
  return Outcome(Error{
      .code = Errc::overloaded,
      .message = fmt::format("'{}' was written meanwhile, {} times in a row: the function of an "
                             "update() must not write what it updates, and should not take long",
                             key, attempts)});
}

}  // namespace

// The counters before the store, which looks into them.
struct SharedState::Parts {
  CounterTable counters;
  std::unique_ptr<StateStore> store;
};

Result<SharedState> SharedState::create(SharedStateOptions options) {
  return create(options, system_clock);
}

Result<SharedState> SharedState::create(SharedStateOptions options, const Clock& clock) {
  Result<CounterTable> counters = CounterTable::create(options.counters);
  if (!counters) return counters.error();
  auto parts = std::make_unique<Parts>(Parts{std::move(*counters), nullptr});
  parts->store = std::make_unique<StateTable>(parts->counters, clock,
                                              StateCaps{options.max_entries, options.max_bytes});
  return SharedState(std::move(parts));
}

Result<SharedState> SharedState::attach(int descriptor, Transport transport) {
  Result<CounterTable> counters = CounterTable::attach(descriptor);
  if (!counters) return counters.error();
  return SharedState(std::make_unique<Parts>(
      Parts{std::move(*counters), std::make_unique<StateClient>(std::move(transport))}));
}

SharedState::SharedState(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
SharedState::SharedState(SharedState&&) noexcept = default;
SharedState& SharedState::operator=(SharedState&&) noexcept = default;
SharedState::~SharedState() = default;

Result<std::optional<Value>> SharedState::find(std::string_view key) const {
  auto stored = parts_->store->read(key);
  if (!stored) return stored.error();
  if (!stored->has_value()) return std::optional<Value>();
  Result<Value> value = from_cbor((*stored)->bytes);
  if (!value) return value.error();
  return std::optional<Value>(std::move(*value));
}

Result<Value> SharedState::get(std::string_view key) const {
  Result<std::optional<Value>> found = find(key);
  if (!found) return found.error();
  if (!found->has_value()) return no_such_key(key);
  return std::move(**found);
}

Result<void> SharedState::set(std::string_view key, const Value& value, SetOptions options) const {
  const Result<std::string> bytes = to_cbor(value);
  if (!bytes) return bytes.error();
  const Result<bool> written =
      parts_->store->write(key, *bytes, {.ttl = options.ttl, .only_over = {}});
  if (!written) return written.error();
  return {};
}

Result<bool> SharedState::erase(std::string_view key) const { return parts_->store->erase(key); }

Result<std::vector<std::string>> SharedState::keys(std::string_view prefix) const {
  Result<std::vector<std::string>> found = parts_->store->keys(prefix);
  if (found) std::sort(found->begin(), found->end());
  return found;
}

Result<void> SharedState::clear() const { return parts_->store->clear(); }
Result<std::size_t> SharedState::size() const { return parts_->store->size(); }

Result<Value> SharedState::update(std::string_view key, const Update& f) const {
  return until_undisturbed(
      *parts_->store, key, [&](std::optional<StoredValue> stored) -> std::optional<Result<Value>> {
        std::optional<Value> current;
        if (stored) {
          Result<Value> read = from_cbor(stored->bytes);
          if (!read) return read;
          current = std::move(*read);
        }
        Result<Value> changed = f(current ? &*current : nullptr);
        if (!changed) return changed;
        const Result<std::string> bytes = to_cbor(*changed);
        if (!bytes) return bytes.error();
        const Result<bool> written = parts_->store->write(
            key, *bytes, {.ttl = {}, .only_over = stored ? stored->version : 0});
        if (!written) return written.error();
        if (!*written) return std::nullopt;
        return changed;
      });
}

Result<bool> SharedState::compare_exchange(std::string_view key, const Value& expected,
                                           const Value& desired) const {
  const Result<std::string> bytes = to_cbor(desired);
  if (!bytes) return bytes.error();
  return until_undisturbed(
      *parts_->store, key, [&](std::optional<StoredValue> stored) -> std::optional<Result<bool>> {
        if (!stored) return false;
        const Result<Value> current = from_cbor(stored->bytes);
        if (!current) return current.error();
        if (*current != expected) return false;
        Result<bool> written =
            parts_->store->write(key, *bytes, {.ttl = {}, .only_over = stored->version});
        if (written && !*written) return std::nullopt;
        return written;
      });
}

Result<std::atomic<std::int64_t>*> SharedState::find_or_make(std::string_view key) const {
  if (auto* found = parts_->counters.find(key)) return found;
  if (const Result<void> made = parts_->store->make_counter(key); !made) return made.error();
  return parts_->counters.find_or_make(key);
}

Result<std::int64_t> SharedState::increment(std::string_view key, std::int64_t by) const {
  const auto found = find_or_make(key);
  if (!found) return found.error();
  return Counter::add(**found, by);
}

Result<std::int64_t> SharedState::decrement(std::string_view key, std::int64_t by) const {
  return increment(key, Counter::opposite(by));
}

Result<Counter> SharedState::counter(std::string_view key) const {
  const auto found = find_or_make(key);
  if (!found) return found.error();
  return parts_->counters.counter(*found);
}

std::vector<std::string> SharedState::counters(std::string_view prefix) const {
  std::vector<std::string> found = parts_->counters.names(prefix);
  std::sort(found.begin(), found.end());
  return found;
}

int SharedState::counters_descriptor() const { return parts_->counters.descriptor(); }

std::string SharedState::serve(std::string_view request) const {
  return answer_of(*parts_->store, request);
}

}  // namespace unirun::python
