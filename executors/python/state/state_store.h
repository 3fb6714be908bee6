// StateStore is where SharedState keeps its values: bytes by key. In the process that owns them it
// is a StateTable; worker processes have a StateClient, which asks that process.
//
// Thread: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "executors/python/error.h"
#include "framework/time.h"

namespace unirun::python {

struct StoredValue {
  std::string bytes;
  std::uint64_t version;  // Never twice for one key, nor 0.
};

struct WriteOptions {
  // From now on; Duration::max() for ever. Nothing: as long as what stands there had left.
  std::optional<Duration> ttl;
  // Only if this version stands there still; 0: if nothing does.
  std::optional<std::uint64_t> only_over;
};

// Errors of all: conversion, where the key is a counter's; worker_lost, if the other process cannot
// be asked.
class StateStore {
 public:
  virtual ~StateStore() = default;

  virtual Result<std::optional<StoredValue>> read(std::string_view key) = 0;
  // False if something else than `only_over` stands there. Errors: memory_limit.
  virtual Result<bool> write(std::string_view key, std::string_view bytes,
                             WriteOptions options) = 0;
  // False if there was none.
  virtual Result<bool> erase(std::string_view key) = 0;
  // In no order.
  virtual Result<std::vector<std::string>> keys(std::string_view prefix) = 0;
  // The values; and sets the counters to 0.
  virtual Result<void> clear() = 0;
  virtual Result<std::size_t> size() = 0;
  // So that the table of counters has it. Errors: conversion, where the key is a value's;
  // memory_limit.
  virtual Result<void> make_counter(std::string_view key) = 0;
};

}  // namespace unirun::python
