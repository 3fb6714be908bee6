// Sequences: who starts and who stops after whom. One engine serves the initial start, the restart
// of a group and the shutdown: stop against the order, then start along it.
//
// The order is a graph. Without depends_on it is the list: each child follows the one before it, so
// that starts and stops go one at a time. With any depends_on it is what they say, and goes as
// parallel as that allows. Dynamic children have no order at all.

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "framework/require.h"
#include "supervisors/supervision.h"

namespace unirun {

bool Supervision::dynamic() const { return flags_.strategy == RestartStrategy::simple_one_for_one; }

bool Supervision::in_groups() const {
  return flags_.strategy == RestartStrategy::one_for_all ||
         flags_.strategy == RestartStrategy::rest_for_one;
}

bool Supervision::in_list_order() const { return !graph_ && !dynamic(); }

// ---- Starting ----

void Supervision::start_when_possible(Child& child, StartCause cause, Attempt attempt) {
  child.cause = cause;
  child.attempt = attempt;
  if (dependencies_met(child)) return launch(child);
  enter(child, Phase::waiting);
}

void Supervision::launch(Child& child) {
  enter(child, Phase::starting);
  children_.set_run(child, runs_.next());
  child.launched = false;
  child.over = false;
  child.launched_at = now_;
  child.ready_at.reset();
  child.verdict.reset();
  child.pid = 0;
  child.after_stop = leaves_nothing(child) ? AfterStop::remove : AfterStop::stay;
  if (child.attempt == Attempt::automatic && child.cause != StartCause::command) ++child.restarts;
  if (child.spec->type() == ChildType::worker) {
    children_.set_deadline(child, now_ + child.spec->start_timeout);
  }
  publish(child, ServiceStarting{child.run, child.cause, child.restarts});
  actions_.emplace_back(action::Launch{child.run, child.id, child.spec, child.arguments});
  if (child.temporary()) child.arguments.reset();  // It will not be started again (item 30).
}

void Supervision::became_ready(Child& child) {
  if (child.phase != Phase::starting || child.verdict) return;  // We are stopping it already.
  child.ready_at = now_;
  publish(child, ServiceStarted{child.run, child.pid, now_ - child.launched_at});
  came_up(child);
  wake_dependents(child);
}

// Its start is over, and was none that failed. Who depends on it looks for itself whether it still
// is up.
void Supervision::came_up(Child& child) {
  enter(child, Phase::running);
  child.attempt = Attempt::automatic;  // Whatever comes from now on is not that start's failure.
  if (&child == probed_) children_.set_deadline(child, now_ + child.spec->backoff.stable_after);
  answer(child, Awaits::start, describe(child));
  settle(child);
}

// The start of this child has come to an end, good or bad, and the next in the list may go.
void Supervision::settle(Child& child) {
  if (std::exchange(child.unsettled, false)) --unsettled_;
  start_next_in_list();
}

void Supervision::start_all_possible() {
  if (in_list_order()) return start_next_in_list();
  if (held() || stage_ == Stage::ending) return;
  std::vector<Child*> ready;
  for (auto& [order, child] : waiting_) {
    if (dependencies_met(*child)) ready.push_back(child);
  }
  for (Child* child : ready) launch(*child);
}

void Supervision::start_next_in_list() {
  if (!in_list_order() || held() || stage_ == Stage::ending) return;
  if (starting_in_list_ || waiting_.empty()) return;
  starting_in_list_ = waiting_.begin()->second;
  launch(*starting_in_list_);
}

// Its dependents may have been waiting for just this.
void Supervision::wake_dependents(const Child& child) {
  if (held() || stage_ == Stage::ending) return;
  for (Child* dependent : child.dependents()) {
    if (dependent->phase == Phase::waiting && dependencies_met(*dependent)) launch(*dependent);
  }
}

bool Supervision::dependency_met(const Child& dependency, DependencyCondition condition) {
  if (dependency.phase == Phase::completed) return true;  // It has done all that it is there for.
  switch (condition) {
    case DependencyCondition::completed: return false;
    case DependencyCondition::ready: return dependency.phase == Phase::running;
    case DependencyCondition::started:
      return dependency.phase == Phase::running ||
             (dependency.phase == Phase::starting && dependency.launched);
  }
  unreachable();
}

bool Supervision::dependencies_met(const Child& child) {
  for (std::size_t i = 0; i < child.dependencies().size(); ++i) {
    const Child* dependency = child.dependencies()[i];
    if (!dependency || !dependency_met(*dependency, child.spec->depends_on[i].condition)) {
      return false;
    }
  }
  return true;
}

// ---- The restart of a group: stop, wait, start ----

// A restart strategy is nothing but the part of the list that falls with one child.
std::vector<Supervision::Child*> Supervision::affected_by(Child& origin) {
  if (flags_.strategy == RestartStrategy::rest_for_one && graph_) return with_dependents(origin);
  std::vector<Child*> affected;
  auto from =
      flags_.strategy == RestartStrategy::rest_for_one ? children_.from(origin) : children_.begin();
  for (; from != children_.end(); ++from) affected.push_back(&from->second);
  return affected;
}

// "The rest" of a graph is what depends on the dead one, directly or not.
std::vector<Supervision::Child*> Supervision::with_dependents(Child& origin) {
  std::vector<Child*> affected{&origin};
  std::unordered_set<const Child*> seen{&origin};
  for (std::size_t i = 0; i < affected.size(); ++i) {
    for (Child* dependent : affected[i]->dependents()) {
      if (seen.insert(dependent).second) affected.push_back(dependent);
    }
  }
  std::sort(affected.begin(), affected.end(),
            [](const Child* a, const Child* b) { return a->order < b->order; });
  return affected;
}

// All that falls with `origin` goes down and comes back. If a group is on its way already, the two
// become one: what has stopped stays down, what is up is stopped, and the longer wait holds.
void Supervision::begin_group(Child& origin, Duration delay) {
  if (group_ && group_->start_due) delay = std::max(delay, *group_->start_due - now_);
  if (group_ && !group_->start_due) delay = std::max(delay, group_->delay);
  group_ = Group{origin.id, delay, std::nullopt};

  const std::vector<Child*> affected = affected_by(origin);
  for (Child* child : affected) {
    child->cause = StartCause::sibling;
    child->retry = false;
    if (!child->has_run() && child->phase != Phase::failed && child->phase != Phase::completed) {
      enter(*child, Phase::stopped);
    }
    // All specs come back, those that had finished or were terminated by hand, too (item 25). Only
    // what failed for good does not: nothing has changed for it.
    child->after_stop = child->temporary()              ? AfterStop::remove
                        : child->phase == Phase::failed ? AfterStop::stay
                                                        : AfterStop::rejoin;
  }
  origin.cause = probing_ ? StartCause::probe : StartCause::restart;
  leave(affected);
}

void Supervision::group_stopped() {
  if (!group_ || group_->start_due) return;
  if (group_->delay == Duration::zero()) return start_group();
  group_->start_due = now_ + group_->delay;
}

void Supervision::start_group() {
  group_.reset();
  start_all_possible();
}

// ---- Stopping ----

// Stops `children` so that each goes only after all that follow it in the order have gone. Those
// that are leaving already keep their place.
void Supervision::leave(const std::vector<Child*>& children) {
  std::vector<Child*> fresh;
  for (Child* child : children) {
    if (std::exchange(child->leaving, true)) continue;
    ++leaving_;
    fresh.push_back(child);
  }
  for (Child* child : fresh) {
    for_each_predecessor(*child, [](Child& before) { ++before.leaving_successors; });
  }
  std::vector<Child*> free;
  std::copy_if(fresh.rbegin(), fresh.rend(), std::back_inserter(free),
               [](const Child* child) { return child->leaving_successors == 0; });
  release(std::move(free));
}

// Nothing is left that must go before these. The list grows while it is worked through, because
// each one that is gone may free others; recursion would be as deep as the list is long.
void Supervision::release(std::vector<Child*> free) {
  for (std::size_t i = 0; i < free.size(); ++i) {
    Child& child = *free[i];
    if (child.has_run()) {
      if (child.phase != Phase::stopping) begin_stop(child, group_ ? "sibling" : end_cause_);
      continue;  // stopped() follows.
    }
    child.leaving = false;
    --leaving_;
    for_each_predecessor(child, [&](Child& before) {
      if (--before.leaving_successors == 0 && before.leaving) free.push_back(&before);
    });
    after_stop(child);
  }
  if (leaving_ == 0) group_stopped();
}

// Who may be stopped only after `child`: the one before it in the list, or what it depends on, the
// last named first, as all stopping goes against the order.
template <class Function>
void Supervision::for_each_predecessor(const Child& child, Function function) {
  if (in_list_order()) {
    if (Child* before = children_.previous(child)) function(*before);
    return;
  }
  const std::vector<Child*>& dependencies = child.dependencies();
  for (auto d = dependencies.rbegin(); d != dependencies.rend(); ++d) {
    if (*d) function(**d);
  }
}

void Supervision::begin_stop(Child& child, const std::string& cause) {
  UNIRUN_REQUIRE(child.has_run() && child.phase != Phase::stopping);
  const Error called_off{stage_ == Stage::ending ? Errc::shutting_down : Errc::cancelled,
                         "the start of \"" + child.id + "\" was called off: " + cause};
  answer(child, Awaits::start, called_off);
  enter(child, Phase::stopping);
  child.verdict.reset();
  publish(child, ServiceStopping{child.run, cause});
  const Shutdown shutdown = child.spec->effective_shutdown();
  if (killing_all_ || std::holds_alternative<BrutalKill>(shutdown)) return begin_kill(child);
  actions_.emplace_back(action::RequestStop{child.run});
  if (const auto* patience = std::get_if<Duration>(&shutdown)) {
    children_.set_deadline(child, now_ + *patience);
  }
}

void Supervision::begin_kill(Child& child) {
  if (child.phase != Phase::stopping) {
    enter(child, Phase::stopping);
    publish(child, ServiceStopping{child.run, "kill"});
  }
  children_.clear_deadline(child);
  child.verdict = ExitKind::killed;
  actions_.emplace_back(action::Kill{child.run});
}

// What was to be stopped is down, by whatever means.
void Supervision::stopped(Child& child) {
  enter(child, Phase::stopped);
  answer(child, Awaits::stop, describe(child));
  for (auto& call : std::exchange(child.deferred, {})) waiting_calls_.push_back(std::move(call));
  if (!child.leaving) return after_stop(child);
  // Down before its turn? Then it still holds up those before it, until all behind it have gone.
  if (child.leaving_successors == 0) release({&child});
}

void Supervision::after_stop(Child& child) {
  switch (std::exchange(child.after_stop, AfterStop::stay)) {
    case AfterStop::stay:
      call_off_start(child);
      forget_probe(child);
      settle(child);
      return;
    case AfterStop::remove:
      forget_probe(child);
      settle(child);
      remove(child);
      return;
    case AfterStop::start:
      start_when_possible(child, StartCause::command, Attempt::automatic);
      return;
    case AfterStop::rejoin:
      child.attempt = child.unsettled ? Attempt::initial : Attempt::automatic;
      enter(child, Phase::waiting);
      return;
    case AfterStop::fail:
      const auto reason = child.last_exit;
      answer(child, Awaits::start,
             Error{Errc::start_failed,
                   "\"" + child.id + "\" was not started again: " + reason->describe()});
      return fail_for_good(child, *reason);
  }
}

// ---- Bookkeeping: the only places where a phase, a run or a child comes and goes ----

void Supervision::enter(Child& child, Phase phase) {
  const auto moves = [](Phase p) { return p == Phase::starting || p == Phase::stopping; };
  in_motion_ += moves(phase);
  in_motion_ -= moves(child.phase);
  if (child.spec->significant) {
    significant_ += is_up(phase);
    significant_ -= is_up(child.phase);
  }
  if (child.phase == Phase::waiting) waiting_.erase(child.order);
  if (phase == Phase::waiting) waiting_.emplace(child.order, &child);
  if (&child == starting_in_list_ && !moves(phase)) starting_in_list_ = nullptr;
  children_.clear_deadline(child);
  child.phase = phase;
  child.since = now_;
}

// Up, or on its way there: what all_significant calls active (item 50).
bool Supervision::is_up(Phase phase) {
  return phase == Phase::waiting || phase == Phase::starting || phase == Phase::running ||
         phase == Phase::backing_off;
}

bool Supervision::leaves_nothing(const Child& child) const {
  return dynamic() || child.temporary();
}

void Supervision::clear_run(Child& child) {
  runs_.ended(child.run);
  children_.clear_run(child);
  child.pid = 0;
}

void Supervision::remove(Child& child) {
  UNIRUN_REQUIRE(!child.leaving);
  enter(child, Phase::stopped);
  call_off_start(child);
  publish(child, ServiceRemoved{});
  if (in_list_order() && child.leaving_successors > 0) {
    // It closes up: the one before it is now held up by those that this one was held up by.
    if (Child* before = children_.previous(child)) {
      before->leaving_successors += child.leaving_successors;
    }
  }
  for (Child* dependency : child.dependencies()) {
    if (dependency) std::erase(dependency->edges->dependents, &child);
  }
  for (Child* dependent : child.dependents()) {
    auto& others = dependent->edges->dependencies;
    std::replace(others.begin(), others.end(), &child, static_cast<Child*>(nullptr));
  }
  children_.erase(child);
}

}  // namespace unirun
