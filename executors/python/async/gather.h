// Gather is many calls by name at once, with one outcome: those of all, in their order. Whoever is
// told to end is awaited, so that every `finally` has run when the outcome is there.
//
// Thread: any.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "executors/python/async/async_call.h"
#include "executors/python/async/gather_options.h"
#include "executors/python/calls/call_spec.h"
#include "executors/python/future.h"

namespace unirun::python {

class Gather final : public Outcome<std::vector<Result<Value>>> {
 public:
  [[nodiscard]] static future<std::vector<Result<Value>>> start(std::span<const CallSpec> calls,
                                                                const GatherOptions& options);

  // Of the whole, which is cancelled: the calls are told to end, too.
  void fail(Error error) noexcept override;

 private:
  class Arrival;

  Gather(std::span<const CallSpec> calls, const GatherOptions& options);
  void run() noexcept override {}  // It is never queued.

  void start_calls();
  void start_call(std::size_t at);
  void arrive(std::size_t at, Result<Value> outcome, bool has_begun);
  void end_all(const Error& reason);
  void give_up_waiting();
  void finish();
  [[nodiscard]] Shared<Gather> share();
  [[nodiscard]] std::vector<Shared<TaskState>> under_way() const;

  const GatherOptions options_;
  const Ref context_;  // Of the Python code that calls.

  std::mutex mutex_;  // Guards the rest. Nothing of others is called under it.
  std::vector<CallSpec> calls_;
  std::vector<Result<Value>> outcomes_;
  std::vector<Shared<Outcome<Value>>> running_;  // By place; nothing where none runs.
  std::size_t next_ = 0;                         // To be started.
  std::size_t under_way_ = 0;
  std::size_t ended_ = 0;
  bool is_starting_ = false;  // Somebody is in start_calls().
  bool is_finished_ = false;
  std::optional<Error> reason_;  // Why all are told to end.
  TimerId deadline_ = TimerId::none;
};

}  // namespace unirun::python
