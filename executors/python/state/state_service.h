// How worker processes reach the values of the process that owns them: StateClient turns each call
// into a request, and answer_of() answers it there. Both are bytes (CBOR): who carries them is the
// user's affair.
//
// Thread: any, as many at a time as the transport carries.

#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "executors/python/state/state_store.h"

namespace unirun::python {

class StateClient final : public StateStore {
 public:
  using Transport = std::function<Result<std::string>(std::string request)>;
  explicit StateClient(Transport transport) : transport_(std::move(transport)) {}

  Result<std::optional<StoredValue>> read(std::string_view key) override;
  Result<bool> write(std::string_view key, std::string_view bytes, WriteOptions options) override;
  Result<bool> erase(std::string_view key) override;
  Result<std::vector<std::string>> keys(std::string_view prefix) override;
  Result<void> clear() override;
  Result<std::size_t> size() override;
  Result<void> make_counter(std::string_view key) override;

 private:
  [[nodiscard]] Result<Value> ask(const Value& request) const;

  const Transport transport_;
};

// Carries a request out. What is no request is answered with an error.
[[nodiscard]] std::string answer_of(StateStore& store, std::string_view request);

}  // namespace unirun::python
