#include "executors/async/blocking_watch.h"

#include <utility>

#include "framework/future.h"

namespace unirun {
namespace {

// How long a stack may take to be told: who blocks may hold what is needed to tell it.
constexpr Duration telling_patience = std::chrono::milliseconds{250};

}  // namespace

BlockingWatch::BlockingWatch(std::shared_ptr<InProcessWorld> world, Duration threshold,
                             OnTooLong on_too_long)
    : world_(std::move(world)),
      on_too_long_(std::make_shared<const OnTooLong>(std::move(on_too_long))),
      monitor_(world_->loop, threshold,
               [this](const auto& occupant, Duration duration, bool first) {
                 on_blocked(occupant, duration, first);
               }) {}

void BlockingWatch::set_limit(RunId run, Duration limit, std::function<void()> interrupt) {
  const std::lock_guard lock(mutex_);
  limits_[run] = {limit, std::move(interrupt)};
}

void BlockingWatch::clear_limit(RunId run) {
  std::function<void()> gone;  // What it holds dies when nothing is held.
  const std::lock_guard lock(mutex_);
  const auto found = limits_.find(run);
  if (found == limits_.end()) return;
  gone = std::move(found->second.interrupt);
  limits_.erase(found);
}

// ---- On the monitor's thread ----

void BlockingWatch::on_blocked(const std::shared_ptr<LoopOccupant>& occupant, Duration duration,
                               bool first) {
  if (first) tell(occupant, duration);
  if (occupant) hold_to_limit(occupant->run(), duration, first);
}

// Past the loop, which cannot tell; unless it tells something itself, and goes on: then by it.
void BlockingWatch::tell(const std::shared_ptr<LoopOccupant>& occupant, Duration duration) {
  if (!world_->bus.wants(EventKind::loop_blocked)) return;
  LoopBlocked blocked{occupant ? occupant->run() : RunId::none, duration, stack_of(occupant)};
  const std::string path = occupant ? occupant->path() : std::string();
  if (world_->bus.publish_past_loop(path, blocked)) {
    world_->gate.post([world = world_] { world->bus.tell_postponed(); });
  } else {
    world_->gate.post([world = world_, path, blocked = std::move(blocked)]() mutable {
      world->bus.publish(path, std::move(blocked));
    });
  }
}

std::string BlockingWatch::stack_of(const std::shared_ptr<LoopOccupant>& occupant) {
  if (!occupant) return {};
  auto promise = std::make_shared<Promise<std::string>>();
  Future<std::string> told = promise->future();
  bystander_.call([promise, occupant, world = world_]() mutable {
    promise->settle(occupant->stack());
    // It belongs to the loop, and must not die here.
    world->gate.post([kept = std::move(occupant)] {});
  });
  if (!told.wait_for(telling_patience)) return {};
  Result<std::string> stack = told.get();
  return stack ? *std::move(stack) : std::string();
}

void BlockingWatch::hold_to_limit(RunId run, Duration duration, bool first) {
  const std::lock_guard lock(mutex_);
  const auto found = limits_.find(run);
  if (found == limits_.end()) return;
  Limit& limit = found->second;
  if (first) limit.told = false;
  if (duration < limit.duration || std::exchange(limit.told, true)) return;
  // First, so that the loop knows why before it sees the end that the interruption brings.
  world_->gate.post([on_too_long = std::weak_ptr(on_too_long_), run, duration] {
    if (const auto tell = on_too_long.lock()) (*tell)(run, duration);
  });
  bystander_.call(limit.interrupt);
}

}  // namespace unirun
