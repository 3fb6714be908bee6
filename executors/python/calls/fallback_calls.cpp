#include "executors/python/calls/fallback_calls.h"

#include <memory>
#include <utility>

namespace unirun::python {

// A call, wherever it runs now.
struct FallbackCalls::Attempt {
  CallSpec call;
  OnDone on_done;
  std::mutex mutex{};  // Guards the next two. Nothing is called within.
  Cancel cancel_here{};
  bool is_cancelled = false;

  void cancel() {
    Cancel here;
    {
      const std::lock_guard lock(mutex);
      is_cancelled = true;
      here.swap(cancel_here);
    }
    if (here) here();
  }
  [[nodiscard]] bool was_cancelled() {
    const std::lock_guard lock(mutex);
    return is_cancelled;
  }
  // It runs elsewhere from now on.
  void move_to(Cancel there) {
    {
      const std::lock_guard lock(mutex);
      if (!is_cancelled) {
        cancel_here = std::move(there);
        return;
      }
    }
    there();
  }
};

bool FallbackCalls::is_refused(const std::string& module) {
  const std::lock_guard lock(mutex_);
  return refused_.contains(module);
}

std::vector<Refusal> FallbackCalls::refused_modules() {
  const std::lock_guard lock(mutex_);
  std::vector<Refusal> refusals;
  for (const auto& [module, why] : refused_) refusals.push_back({module, why});
  return refusals;
}

CallRunner::Cancel FallbackCalls::run(CallSpec call, OnDone on_done) {
  if (is_refused(call.module)) {
    if (const auto processes = find_processes_(); processes.ok())
      return (*processes)->run(std::move(call), std::move(on_done));
  }
  const auto attempt = std::make_shared<Attempt>();
  attempt->call = std::move(call);
  attempt->on_done = std::move(on_done);
  auto cancel = interpreters_.run(attempt->call, [this, attempt](Result<Value> outcome) {
    const bool loaded = outcome.ok() || outcome.error().code != Errc::import_failed;
    // One that is not wanted any more may end when all this has.
    if (loaded || attempt->was_cancelled()) return attempt->on_done(std::move(outcome));
    run_in_process(attempt, outcome.error());
  });
  // It may have moved on already, which set its own.
  {
    const std::lock_guard lock(attempt->mutex);
    if (!attempt->cancel_here && !attempt->is_cancelled) attempt->cancel_here = std::move(cancel);
  }
  return [attempt] { attempt->cancel(); };
}

void FallbackCalls::run_in_process(const std::shared_ptr<Attempt>& attempt, const Error& why) {
  const auto processes = find_processes_();
  if (!processes.ok()) return attempt->on_done(why);
  const auto on_done = [this, attempt, why = why.message](Result<Value> outcome) {
    if (outcome.ok() || outcome.error().code != Errc::import_failed) {
      const std::lock_guard lock(mutex_);
      refused_.emplace(attempt->call.module, why);
    }
    attempt->on_done(std::move(outcome));
  };
  attempt->move_to((*processes)->run(attempt->call, on_done));
}

}  // namespace unirun::python
