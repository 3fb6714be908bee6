#include "executors/python/calls/parallel_run.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "executors/python/calls/function_cache.h"

namespace unirun::python {
namespace {

Error timed_out(std::string_view where, Duration timeout) {
  return {.code = Errc::timeout,
          .message = fmt::format("{}: parallel() had a timeout of {}, which was over", where,
                                 format_duration(std::max(timeout, Duration::zero())))};
}

}  // namespace

ParallelRun::ParallelRun(CallRunner& runner, std::vector<CallSpec> calls, std::size_t width,
                         std::function<void(ParallelRun&)> on_end)
    : runner_(runner),
      width_(width),
      on_end_(std::move(on_end)),
      calls_(std::move(calls)),
      outcomes_(calls_.size()),
      cancels_(calls_.size()) {}

// One thread at a time begins calls; one that ends meanwhile makes room for the next of its loop.
void ParallelRun::go_on() {
  std::unique_lock lock(mutex_);
  if (is_going_on_) return;
  is_going_on_ = true;
  while (!is_given_up_ && begun_ < calls_.size() && begun_ - ended_ < width_) {
    const std::size_t index = begun_++;
    CallSpec call = std::move(calls_[index]);
    lock.unlock();
    if (const auto named = FunctionCache::check(call.module, call.function); !named.ok()) {
      on_done(index, named.error());
      lock.lock();
      continue;
    }
    add_owner();
    auto cancel = runner_.run(std::move(call),
                              [self = Shared<ParallelRun>(this), index](Result<Value> outcome) {
                                self->on_done(index, std::move(outcome));
                              });
    lock.lock();
    if (!outcomes_[index]) cancels_[index] = std::move(cancel);
    if (!is_given_up_ || !cancels_[index]) continue;
    cancel = std::exchange(cancels_[index], {});
    lock.unlock();
    cancel();
    lock.lock();
  }
  is_going_on_ = false;
  const bool is_complete = ended_ == calls_.size();
  lock.unlock();
  if (is_complete) finish();
}

void ParallelRun::on_done(std::size_t index, Result<Value> outcome) {
  CallRunner::Cancel dropped;
  {
    const std::lock_guard lock(mutex_);
    outcomes_[index].emplace(std::move(outcome));
    dropped = std::exchange(cancels_[index], {});
    ++ended_;
  }
  go_on();
}

void ParallelRun::finish() {
  if (!claim(Ending::executed)) return;
  std::vector<Result<Value>> outcomes;
  outcomes.reserve(outcomes_.size());
  for (auto& outcome : outcomes_) outcomes.push_back(*std::move(outcome));
  settle(std::move(outcomes));
  on_end_(*this);
}

void ParallelRun::give_up() {
  std::vector<CallRunner::Cancel> cancels;
  {
    const std::lock_guard lock(mutex_);
    is_given_up_ = true;
    cancels.swap(cancels_);
    cancels_.resize(calls_.size());
  }
  for (const auto& cancel : cancels) {
    if (cancel) cancel();
  }
}

void ParallelRun::expire(Duration timeout) {
  if (!claim(Ending::timed_out)) return;
  const Error under_way = timed_out("it was under way", timeout);
  const Error not_begun = timed_out("it had not begun", timeout);
  std::vector<Result<Value>> outcomes;
  {
    const std::lock_guard lock(mutex_);
    outcomes.reserve(outcomes_.size());
    for (std::size_t at = 0; at < outcomes_.size(); ++at) {
      const Error& error = at < begun_ ? under_way : not_begun;
      outcomes.push_back(outcomes_[at] ? *outcomes_[at] : Result<Value>(error));
    }
  }
  settle(std::move(outcomes));
  give_up();
  on_end_(*this);
}

void ParallelRun::fail(Error error) noexcept {
  settle(std::move(error));
  give_up();
  on_end_(*this);
}

}  // namespace unirun::python
