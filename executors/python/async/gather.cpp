#include "executors/python/async/gather.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "executors/python/async/coroutine_endings.h"
#include "executors/python/calls/function_cache.h"
#include "executors/python/runtime.h"

namespace unirun::python {
namespace {

Error timed_out(Duration timeout) {
  return {.code = Errc::timeout,
          .message = fmt::format("gather() had a timeout of {}, which was over",
                                 format_duration(std::max(timeout, Duration::zero())))};
}

// Of one call, why all were told to end.
Error because(Error reason, bool has_begun) {
  reason.message =
      fmt::format("{}: {}", has_begun ? "it was running" : "it had not begun", reason.message);
  return reason;
}

// Of a call that was told to end and did.
bool is_end_as_told(const Result<Value>& outcome) {
  return !outcome.ok() &&
         (outcome.error().code == Errc::cancelled || outcome.error().type == "unirun.Interrupted");
}

}  // namespace

// What follows a call.
class Gather::Arrival final : public Continuation {
 public:
  Arrival(Shared<Gather> gather, std::size_t at, Shared<Outcome<Value>> call)
      : gather_(std::move(gather)), at_(at), call_(std::move(call)) {}
  std::unique_ptr<Continuation> run() noexcept override {
    gather_->arrive(at_, call_->take_outcome(), call_->has_started());
    return nullptr;
  }

 private:
  Shared<Gather> gather_;
  std::size_t at_;
  const Shared<Outcome<Value>> call_;
};

Gather::Gather(std::span<const CallSpec> calls, const GatherOptions& options)
    : options_(options),
      context_(AsyncCall::context_of_caller()),
      calls_(calls.begin(), calls.end()),
      outcomes_(calls.size(), Error{}),
      running_(calls.size()) {}

future<std::vector<Result<Value>>> Gather::start(std::span<const CallSpec> calls,
                                                 const GatherOptions& options) {
  const Shared<Gather> gather(new Gather(calls, options));
  gather->add_owner();
  future<std::vector<Result<Value>>> outcome{
      Shared<Outcome<std::vector<Result<Value>>>>(gather.get())};
  if (options.timeout) {
    const auto end = [gather, timeout = *options.timeout] { gather->end_all(timed_out(timeout)); };
    if (*options.timeout <= Duration::zero()) {
      end();
    } else {
      const TimerId timer = Runtime::get().call_later(*options.timeout, end);
      const std::lock_guard lock(gather->mutex_);
      gather->deadline_ = timer;
    }
  }
  gather->start_calls();
  return outcome;
}

Shared<Gather> Gather::share() {
  add_owner();
  return Shared<Gather>(this);
}

// ---- Starting ----

// One thread at a time, which goes on for those who come meanwhile: a call may end while it is
// started.
void Gather::start_calls() {
  std::unique_lock lock(mutex_);
  if (is_starting_) return;
  is_starting_ = true;
  while (next_ < calls_.size() && (options_.limit == 0 || under_way_ < options_.limit)) {
    const std::size_t at = next_++;
    ++under_way_;
    lock.unlock();
    start_call(at);
    lock.lock();
  }
  is_starting_ = false;
  if (ended_ < calls_.size() || std::exchange(is_finished_, true)) return;
  lock.unlock();
  finish();
}

void Gather::start_call(std::size_t at) {
  CallSpec& spec = calls_[at];
  if (const auto named = FunctionCache::check(spec.module, spec.function); !named.ok())
    return arrive(at, named.error(), false);
  auto* const call = new AsyncCall(std::move(spec), context_);
  const Shared<Outcome<Value>> shared(call);
  call->add_owner();
  call->follow(std::make_unique<Arrival>(share(), at, shared));
  Runtime::get().submit(Shared<TaskState>(call), {});
  bool is_late = false;
  {
    const std::lock_guard lock(mutex_);
    if (shared->is_settled()) return;  // It has arrived, or is about to.
    running_[at] = shared;  // Not before: who asks it to end would meet it half submitted.
    is_late = reason_.has_value();
  }
  if (is_late) Runtime::get().ask_to_end(shared.get());
}

// ---- Ending ----

void Gather::arrive(std::size_t at, Result<Value> outcome, bool has_begun) {
  std::optional<Error> failure;
  Shared<Outcome<Value>> dropped;
  {
    const std::lock_guard lock(mutex_);
    if (reason_ && is_end_as_told(outcome)) outcome = because(*reason_, has_begun);
    if (!outcome.ok() && options_.fail_fast && !reason_) failure = outcome.error();
    outcomes_[at] = std::move(outcome);
    dropped = std::exchange(running_[at], {});
    --under_way_;
    ++ended_;
  }
  if (failure) {
    end_all({.code = Errc::cancelled,
             .message = fmt::format("call {} failed: {}", at, failure->message)});
  }
  start_calls();
}

std::vector<Shared<TaskState>> Gather::under_way() const {
  std::vector<Shared<TaskState>> calls;
  for (const auto& call : running_) {
    if (!call) continue;
    call->add_owner();
    calls.emplace_back(call.get());
  }
  return calls;
}

void Gather::end_all(const Error& reason) {
  std::vector<Shared<TaskState>> calls;
  {
    const std::lock_guard lock(mutex_);
    if (reason_ || is_finished_) return;
    reason_ = reason;
    for (; next_ < calls_.size(); ++next_, ++ended_) outcomes_[next_] = because(reason, false);
    calls = under_way();
  }
  for (const Shared<TaskState>& call : calls) Runtime::get().ask_to_end(call.get());
  if (!calls.empty()) {
    static_cast<void>(Runtime::get().call_later(CoroutineEndings::patience,
                                                [gather = share()] { gather->give_up_waiting(); }));
  }
  start_calls();
}

void Gather::give_up_waiting() {
  std::vector<Shared<TaskState>> calls;
  {
    const std::lock_guard lock(mutex_);
    calls = under_way();
  }
  for (const Shared<TaskState>& call : calls) {
    static_cast<void>(Runtime::get().cancel(
        *call, {.code = Errc::stuck,
                .message = fmt::format("it went on {} s after it was told to end: {}",
                                       CoroutineEndings::patience / std::chrono::seconds(1),
                                       reason_->message)}));
  }
}

void Gather::finish() {
  if (deadline_ != TimerId::none) Runtime::get().cancel_call(deadline_);
  if (claim(Ending::executed)) settle(std::move(outcomes_));
}

void Gather::fail(Error error) noexcept {
  const Error reason = error;
  Outcome::fail(std::move(error));
  end_all(reason);
}

}  // namespace unirun::python
