// ParallelRun is one parallel(): its calls, a few at a time, and what became of each.
//
// Thread: any. Its future shares it.

#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "executors/python/calls/call_runner.h"
#include "executors/python/future.h"

namespace unirun::python {

class ParallelRun final : public Outcome<std::vector<Result<Value>>> {
 public:
  // So many at once in `runner`, which outlives the run's last call. `on_end` is called once.
  ParallelRun(CallRunner& runner, std::vector<CallSpec> calls, std::size_t width,
              std::function<void(ParallelRun&)> on_end);

  // REQUIRES: once.
  void begin() { go_on(); }
  // Its time is up: what has not ended ends so, and the rest is kept.
  void expire(Duration timeout);

  // As TaskState has it. It stands in no queue.
  void run() noexcept override {}
  void fail(Error error) noexcept override;

 private:
  void go_on();
  void on_done(std::size_t index, Result<Value> outcome);
  void give_up();
  void finish();

  CallRunner& runner_;
  const std::size_t width_;
  const std::function<void(ParallelRun&)> on_end_;

  std::mutex mutex_;  // Guards the rest. Nothing is called within.
  std::vector<CallSpec> calls_;
  std::vector<std::optional<Result<Value>>> outcomes_;
  std::vector<CallRunner::Cancel> cancels_;  // Of those that run.
  std::size_t begun_ = 0;
  std::size_t ended_ = 0;
  bool is_going_on_ = false;
  bool is_given_up_ = false;
};

}  // namespace unirun::python
