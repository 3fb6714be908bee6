#include "executors/python/state/limiter.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/tasks/task_calls.h"
#include "framework/doorbell.h"
#include "framework/event_loop.h"
#include "framework/require.h"

namespace unirun::python {

// One who waits for a place, or has one.
struct LimiterClaim {
  enum class Stage : std::uint8_t { waiting, held, over };

  LimiterClaim(OwnerId owner_id, Limiter::Told function)
      : owner(owner_id), told(std::move(function)) {}

  const OwnerId owner;
  Limiter::Told told;  // None for a thread that waits at the bell.
  Doorbell bell;

  // The limiter's lock guards the rest.
  Stage stage = Stage::waiting;
  Errc ended_by = Errc::ok;                                // Where it is over and has held nothing.
  std::list<std::shared_ptr<LimiterClaim>>::iterator row;  // Of those who wait, while it does.
};

class LimiterCore : public std::enable_shared_from_this<LimiterCore> {
 public:
  using Claim = std::shared_ptr<LimiterClaim>;
  using Stage = LimiterClaim::Stage;

  explicit LimiterCore(std::string_view name) : name_(name) {}
  LimiterCore(const LimiterCore&) = delete;
  LimiterCore& operator=(const LimiterCore&) = delete;
  ~LimiterCore();

  [[nodiscard]] const std::string& name() const { return name_; }

  Result<Permit> try_acquire(OwnerId owner) {
    const std::lock_guard lock(mutex_);
    if (!may_go_on()) return refusal("wait for one with acquire(), or raise max_concurrent");
    const Claim claim = add(owner, nullptr);
    enter(claim);
    return permit(claim);
  }

  Result<Permit> acquire(Duration timeout, OwnerId owner) {
    Claim claim;
    {
      const std::lock_guard lock(mutex_);
      if (!may_go_on()) {
        if (is_queue_full()) return full();
        if (const auto may = check_may_wait(); !may.ok()) return may.error();
      }
      claim = add(owner, nullptr);
      if (may_go_on()) {
        enter(claim);
        return permit(claim);
      }
      append(claim);
    }
    const GILRelease released;  // Who has the permit may need it to give that back.
    const bool told = claim->bell.wait(timeout, [&] {
      const std::lock_guard lock(mutex_);
      return claim->stage != Stage::waiting;
    });
    const std::lock_guard lock(mutex_);
    if (!told && claim->stage == Stage::waiting) {
      withdraw(claim);
      return Error{.code = Errc::timeout,
                   .message = fmt::format(
                       "limiter '{}': no permit within {}: {} of {} are held, {} wait", name_,
                       format_duration(timeout), held_, options_.max_concurrent, waiting_.size())};
    }
    return outcome(claim);
  }

  LimiterWait acquire_async(Limiter::Told told, OwnerId owner) {
    UNIRUN_REQUIRE(told != nullptr);
    std::unique_lock lock(mutex_);
    if (!may_go_on() && is_queue_full()) {
      Error error = full();
      lock.unlock();
      told(std::move(error));
      return {};
    }
    const Claim claim = add(owner, std::move(told));
    if (may_go_on()) {
      to_tell_.push_back(claim);
      enter(claim);
      tell(lock);
    } else {
      append(claim);
    }
    return {shared_from_this(), claim};
  }

  void configure(LimiterOptions options) {
    std::unique_lock lock(mutex_);
    options_ = options;
    let_in();
    tell(lock);
  }

  bool cancel(const Claim& claim) {
    std::unique_lock lock(mutex_);
    if (claim->stage != Stage::waiting) return false;
    end_wait(claim, Errc::cancelled);
    tell(lock);
    return true;
  }

  void release(const Claim& claim) {
    std::unique_lock lock(mutex_);
    if (claim->stage != Stage::held) return;
    leave(claim);
    let_in();
    tell(lock);
  }

  std::size_t release_owner(OwnerId owner) {
    std::unique_lock lock(mutex_);
    std::size_t permits = 0;
    for (auto row = owned_.lower_bound({owner, nullptr});
         row != owned_.end() && row->first == owner; row = owned_.lower_bound({owner, nullptr})) {
      const Claim claim = row->second;
      if (claim->stage == Stage::waiting) {
        end_wait(claim, Errc::worker_lost);
      } else {
        leave(claim);
        claim->ended_by = Errc::worker_lost;  // Should it not have been told yet.
        ++permits;
      }
    }
    orphaned_ += permits;
    let_in();
    tell(lock);
    return permits;
  }

  [[nodiscard]] bool is_held(const Claim& claim) {
    const std::lock_guard lock(mutex_);
    return claim->stage == Stage::held;
  }

  [[nodiscard]] LimiterFigures figures() {
    const std::lock_guard lock(mutex_);
    return {.options = options_,
            .held = held_,
            .waiting = waiting_.size(),
            .granted = granted_,
            .overloaded = overloaded_,
            .orphaned = orphaned_};
  }

 private:
  // All that follows: with the lock. What gives a place back or hands it on allocates nothing: it
  // cannot fail.

  // Nobody waits while a place is free: let_in() sees to that.
  [[nodiscard]] bool may_go_on() const { return held_ < options_.max_concurrent; }
  [[nodiscard]] bool is_queue_full() const { return waiting_.size() >= options_.max_queue; }

  // Where others wait for this thread, who has the permit may be among them.
  [[nodiscard]] Result<void> check_may_wait() const {
    const bool is_on_loop = EventLoop::current() != nullptr;
    if (!is_on_loop && check_no_coroutine("acquire").ok()) return {};
    return Error{.code = is_on_loop ? Errc::unsupported : Errc::loop_running,
                 .message = fmt::format("limiter '{}': no permit is free, and acquire() would hold "
                                        "up the {} on whose thread it is: use acquire_async() "
                                        "there, or try_acquire()",
                                        name_, is_on_loop ? "event loop" : "loop of coroutines")};
  }

  Claim add(OwnerId owner, Limiter::Told told) {
    const auto claim = std::make_shared<LimiterClaim>(owner, std::move(told));
    if (owner != 0) owned_.emplace(owner, claim);
    return claim;
  }

  void enter(const Claim& claim) {
    claim->stage = Stage::held;
    ++held_;
    ++granted_;
  }

  void leave(const Claim& claim) {
    claim->stage = Stage::over;
    --held_;
    if (claim->owner != 0) owned_.erase({claim->owner, claim});
  }

  void append(const Claim& claim) { claim->row = waiting_.insert(waiting_.end(), claim); }

  void withdraw(const Claim& claim) {
    claim->stage = Stage::over;
    waiting_.erase(claim->row);
    if (claim->owner != 0) owned_.erase({claim->owner, claim});
  }

  // From the row of those who wait to that of those who are to be told.
  void call_up(const Claim& claim) {
    if (claim->told == nullptr) {
      waiting_.erase(claim->row);
      claim->bell.ring();
    } else {
      to_tell_.splice(to_tell_.end(), waiting_, claim->row);
    }
  }

  void end_wait(const Claim& claim, Errc reason) {
    claim->stage = Stage::over;
    claim->ended_by = reason;
    if (claim->owner != 0) owned_.erase({claim->owner, claim});
    call_up(claim);
  }

  void let_in() {
    while (may_go_on() && !waiting_.empty()) {
      const Claim next = waiting_.front();
      enter(next);
      call_up(next);
    }
  }

  // One thread tells at a time, in order; what others bring about meanwhile it tells too.
  void tell(std::unique_lock<std::mutex>& lock) {
    if (std::exchange(telling_, true)) return;
    while (!to_tell_.empty()) {
      const Claim claim = to_tell_.front();
      to_tell_.pop_front();
      Result<Permit> result = outcome(claim);
      lock.unlock();
      std::exchange(claim->told, nullptr)(std::move(result));  // What it holds dies here, too.
      lock.lock();
    }
    telling_ = false;
  }

  Permit permit(const Claim& claim) { return Permit(shared_from_this(), claim); }

  Result<Permit> outcome(const Claim& claim) {
    if (claim->stage == Stage::held) return permit(claim);
    if (claim->ended_by == Errc::worker_lost) {
      return Error{.code = Errc::worker_lost,
                   .message = fmt::format("limiter '{}': owner {} has died", name_, claim->owner)};
    }
    return Error{.code = Errc::cancelled,
                 .message = fmt::format("limiter '{}': the wait was cancelled", name_)};
  }

  Error refusal(std::string_view advice) {
    ++overloaded_;
    return Error{.code = Errc::overloaded,
                 .message = fmt::format(
                     "limiter '{}': {} of {} permits are held, {} of {} who may wait do; {}", name_,
                     held_, options_.max_concurrent, waiting_.size(), options_.max_queue, advice)};
  }
  Error full() { return refusal("try later, or raise max_concurrent or max_queue"); }

  const std::string name_;
  std::mutex mutex_;  // Guards the rest. Nobody is told anything under it.
  LimiterOptions options_{.max_concurrent = 0, .max_queue = 0};
  std::size_t held_ = 0;
  std::uint64_t granted_ = 0;
  std::uint64_t overloaded_ = 0;
  std::uint64_t orphaned_ = 0;
  std::list<Claim> waiting_;  // The next is the first.
  std::list<Claim> to_tell_;
  bool telling_ = false;
  std::set<std::pair<OwnerId, Claim>> owned_;  // Who waits or holds for an owner.
};

LimiterCore::~LimiterCore() {
  // With no handle, permit or caller left: these wait where max_concurrent is 0.
  for (const Claim& claim : waiting_) {
    claim->stage = Stage::over;
    if (claim->told) claim->told(outcome(claim));
  }
}

Permit& Permit::operator=(Permit&& other) noexcept {
  Permit dropped(std::move(*this));
  core_ = std::move(other.core_);
  claim_ = std::move(other.claim_);
  return *this;
}

void Permit::release() noexcept {
  if (core_ == nullptr) return;
  const auto core = std::exchange(core_, nullptr);
  core->release(std::exchange(claim_, nullptr));
}

bool Permit::is_held() const { return core_ != nullptr && core_->is_held(claim_); }

bool LimiterWait::cancel() {
  const auto core = core_;
  return core != nullptr && core->cancel(claim_);
}

Result<Permit> Limiter::try_acquire(OwnerId owner) const { return core_->try_acquire(owner); }

Result<Permit> Limiter::acquire(Duration timeout, OwnerId owner) const {
  return core_->acquire(timeout, owner);
}

LimiterWait Limiter::acquire_async(Told told, OwnerId owner) const {
  const auto core = core_;  // Whoever is told may drop this handle, here and below.
  return core->acquire_async(std::move(told), owner);
}

void Limiter::configure(LimiterOptions options) const {
  const auto core = core_;
  core->configure(options);
}

LimiterFigures Limiter::figures() const { return core_->figures(); }
const std::string& Limiter::name() const { return core_->name(); }

namespace {

// By name. An entry outlives its limiter until somebody looks.
struct Registry {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<LimiterCore>, std::less<>> cores;
  std::size_t sweep_at = 64;

  // With the lock.
  void sweep() {
    if (cores.size() < sweep_at) return;
    std::erase_if(cores, [](const auto& entry) { return entry.second.expired(); });
    sweep_at = std::max<std::size_t>(64, 2 * cores.size());
  }
};

Registry& registry() {
  static Registry& of_the_process = *new Registry;  // Permits may go back while statics die.
  return of_the_process;
}

}  // namespace

Limiter limiter(std::string_view name, LimiterOptions options) {
  std::shared_ptr<LimiterCore> core;
  {
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    const auto found = all.cores.find(name);
    if (found != all.cores.end()) core = found->second.lock();
    if (core == nullptr) {
      all.sweep();
      core = std::make_shared<LimiterCore>(name);
      all.cores.insert_or_assign(std::string(name), core);
    }
  }
  core->configure(options);
  return Limiter(std::move(core));
}

std::size_t release_permits_of(OwnerId owner) {
  UNIRUN_REQUIRE(owner != 0);
  std::vector<std::shared_ptr<LimiterCore>> cores;
  {
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    for (const auto& [name, core] : all.cores) {
      if (auto alive = core.lock()) cores.push_back(std::move(alive));
    }
  }
  std::size_t permits = 0;
  for (const auto& core : cores) permits += core->release_owner(owner);
  return permits;
}

}  // namespace unirun::python
