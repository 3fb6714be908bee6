// Ends and restarts: what a death means. All branching of a restart decision stands in judge() and
// judge_failed_start(); what they call records, counts and builds lists.

#include "supervisors/supervision.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "framework/require.h"

namespace unirun {

Supervision::Supervision(const std::shared_ptr<const SupervisorSpec>& spec, Random& random,
                         RunIds& runs)
    : flags_(flags_of(*spec)),
      random_(random),
      runs_(runs),
      intensity_({spec->max_restarts, spec->period}) {
  if (dynamic()) {
    UNIRUN_REQUIRE(spec->children.size() == 1);
    template_ = {spec, &spec->children.front()};
    return;
  }
  children_.reserve(spec->children.size());
  for (const ChildSpec& child : spec->children) children_.add(child.id, {spec, &child});
  graph_ = children_.link_dependencies();
}

SupervisorSpec Supervision::flags_of(const SupervisorSpec& spec) {
  return {spec.strategy,     spec.max_restarts,   spec.period, spec.auto_shutdown,
          spec.on_exhausted, spec.probe_interval, {}};
}

// ---- What happens ----

Actions Supervision::start(Instant now) {
  UNIRUN_REQUIRE(stage_ == Stage::unborn);
  now_ = now;
  stage_ = Stage::starting;
  for (auto& [order, child] : children_) {
    child.unsettled = true;
    ++unsettled_;
    child.attempt = Attempt::initial;
    child.cause = StartCause::initial;
    enter(child, Phase::waiting);
  }
  start_all_possible();
  return finish();
}

Actions Supervision::on_launched(RunId run, LaunchOutcome outcome, Instant now) {
  now_ = now;
  Child* child = children_.find(run);
  UNIRUN_REQUIRE(child != nullptr && child->has_run() && !child->launched);
  child->launched = true;
  child->pid = outcome.pid;
  switch (outcome.state) {
    case LaunchOutcome::State::running: became_ready(*child); break;
    case LaunchOutcome::State::starting: wake_dependents(*child); break;
    case LaunchOutcome::State::over: child->over = true; break;
    case LaunchOutcome::State::failed: end_of_run(*child, std::move(outcome.reason)); break;
    case LaunchOutcome::State::ignored: declined(*child); break;
  }
  return finish();
}

void Supervision::on_process(RunId run, std::int64_t pid) {
  Child* child = children_.find(run);
  if (child && child->run == run) child->pid = pid;
}

Actions Supervision::on_ready(RunId run, Instant now) {
  now_ = now;
  Child* child = children_.find(run);
  if (child && child->has_run()) became_ready(*child);
  return finish();
}

Actions Supervision::on_ignored(RunId run, Instant now) {
  now_ = now;
  Child* child = children_.find(run);
  if (child && child->has_run()) declined(*child);
  return finish();
}

Actions Supervision::on_exited(RunId run, ExitReason reason, Instant now) {
  now_ = now;
  Child* child = children_.find(run);
  if (child && child->has_run()) end_of_run(*child, std::move(reason));  // Else item 15.
  return finish();
}

Actions Supervision::on_time(Instant now) {
  now_ = now;
  while (Child* due = children_.take_due(now)) on_deadline(*due);
  if (group_ && group_->start_due && *group_->start_due <= now) start_group();
  if (probe_due_ <= now) probe_next();
  return finish();
}

Actions Supervision::shut_down(ExitReason reason, Instant now) {
  now_ = now;
  begin_end(std::move(reason), "shutdown");
  return finish();
}

Actions Supervision::kill_all(Instant now) {
  now_ = now;
  killing_all_ = true;
  begin_end(ExitReason::of(ExitKind::killed, "all children were killed at once"), "kill");
  for (auto& [order, child] : children_) {
    if (child.has_run() && child.verdict != ExitKind::killed) begin_kill(child);
  }
  return finish();
}

Instant Supervision::next_deadline() const {
  Instant next = std::min(children_.next_deadline(), probe_due_);
  if (group_ && group_->start_due) next = std::min(next, *group_->start_due);
  return next;
}

// The end of every input: calls that had to wait get their turn, and the supervisor itself may have
// come up or gone down.
Actions Supervision::finish() {
  serve_waiting_calls();
  if (stage_ == Stage::starting && unsettled_ == 0) {
    stage_ = Stage::up;
    publish(SupervisorStarted{children_.size()});
    actions_.emplace_back(action::Started{});
    said_started_ = true;
  }
  if (stage_ == Stage::ending && leaving_ == 0) {
    stage_ = Stage::ended;
    // OTP serves the end of a significant child only after init: such a supervisor did start.
    if (ended_by_itself_ && !said_started_) actions_.emplace_back(action::Started{});
    publish(SupervisorStopped{end_reason_});
    actions_.emplace_back(action::Ended{end_reason_});
  }
  return std::exchange(actions_, {});
}

// ---- What an end means ----

// What we do ourselves, we know better than the executor does.
ExitReason Supervision::judged_by_us(const Child& child, ExitReason reason) const {
  if (!child.verdict && reason.kind == ExitKind::killed && child.has_caller(Awaits::kill)) {
    reason.detail = "by command";
  }
  if (reason.kind == ExitKind::stuck) {
    // It runs on, whatever we wanted of it; another beside it is for its owner to allow.
    reason.permanent_failure = !child.spec->allow_overlap;
    return reason;
  }
  if (!child.verdict) return reason;
  reason.kind = *child.verdict;
  reason.detail =
      *child.verdict == ExitKind::start_timeout
          ? fmt::format("not ready within {}", format_duration(child.spec->start_timeout))
          : "did not stop by itself";
  return reason;
}

void Supervision::end_of_run(Child& child, ExitReason raw) {
  ExitReason reason = judged_by_us(child, std::move(raw));
  publish(child, ServiceExited{child.run, child.pid, reason, now_ - child.launched_at,
                               child.phase == Phase::stopping, child.ready_at.has_value()});
  const Phase phase = child.phase;
  child.last_exit = std::make_shared<const ExitReason>(std::move(reason));
  const auto held_reason = child.last_exit;  // The child may be gone before the reason is.
  clear_run(child);
  const std::vector<CallId> killers = child.take_callers(Awaits::kill);
  if (killers.empty()) return judge_end(child, phase, *held_reason);

  ChildSnapshot last = describe(child);
  last.state = ServiceState::stopped;
  judge_end(child, phase, *held_reason);
  const Result<ChildSnapshot> present = this->child(ChildRef{last.id});
  for (const CallId call : killers) reply(call, present ? *present : last);  // Or it is gone.
}

void Supervision::judge_end(Child& child, Phase phase, const ExitReason& reason) {
  // Dying by itself while it waits for its turn to be stopped is just as good (item 38).
  if (phase == Phase::stopping || child.leaving) {
    const bool is_stuck = reason.kind == ExitKind::stuck && reason.permanent_failure;
    const bool stays = stage_ != Stage::ending && child.after_stop != AfterStop::remove;
    if (is_stuck && stays) child.after_stop = AfterStop::fail;
    return stopped(child);
  }
  if (phase == Phase::starting && !child.over) return judge_failed_start(child, reason);
  if (phase == Phase::starting) came_up(child);
  judge(child, reason);
}

// A child that was ready has ended by itself (OTP: do_restart).
void Supervision::judge(Child& child, const ExitReason& reason) {
  if (reason.permanent_failure) return fail_for_good(child, reason);
  switch (child.spec->restart) {
    case Restart::permanent: return restart_after_crash(child, reason);
    case Restart::transient:
      return reason.is_clean() ? retire(child, reason) : restart_after_crash(child, reason);
    case Restart::temporary: return retire(child, reason);
  }
}

// A start came to nothing; what that means depends on who wanted it.
void Supervision::judge_failed_start(Child& child, const ExitReason& reason) {
  const Attempt attempt = child.attempt;
  const std::vector<CallId> callers = child.take_callers(Awaits::start);
  enter(child, Phase::stopped);
  answer(callers, Error{Errc::start_failed,
                        fmt::format("\"{}\" failed to start: {}", child.id, reason.describe())});
  switch (attempt) {
    case Attempt::initial:
      return begin_end(ExitReason::shutdown(fmt::format("failed_to_start_child \"{}\": {}",
                                                        child.id, reason.describe())),
                       "failed start");
    case Attempt::added: settle(child); return remove(child);
    case Attempt::by_hand:
      if (reason.permanent_failure) return fail_for_good(child, reason);
      return settle(child);
    case Attempt::automatic:
      if (reason.permanent_failure) return fail_for_good(child, reason);
      return try_again(child, reason);
  }
}

// The service declined to run (items 7 and 31): it is up to no good use, and no failure either.
void Supervision::declined(Child& child) {
  const ExitReason reason = ExitReason::of(ExitKind::normal, "ignored: it declined to run");
  const bool asked_to_stop = child.phase == Phase::stopping;
  clear_run(child);
  answer(child, Awaits::kill, describe(child));
  publish(child, ServiceCompleted{reason});
  if (asked_to_stop || child.leaving) return stopped(child);
  enter(child, Phase::completed);
  const std::vector<CallId> callers = child.take_callers(Awaits::start);
  answer(callers, describe(child));
  if (&child == probed_) recovered(child);
  wake_dependents(child);
  settle(child);
  if (leaves_nothing(child)) remove(child);
}

void Supervision::restart_after_crash(Child& child, const ExitReason& reason) {
  if (probing_) return probe_later(child, reason);
  if (intensity_.record(now_) == RestartIntensity::Verdict::give_up) {
    return exhausted(child, reason);
  }
  restart(child, count_failure(child), reason);
}

// A retry stands behind everything that is already pending, even with no delay: it comes back
// through on_time(), and is counted there (items 16 and 22).
void Supervision::try_again(Child& child, const ExitReason& reason) {
  if (probing_) return probe_later(child, reason);
  const Duration delay = count_failure(child);
  enter(child, Phase::backing_off);
  child.retry = true;
  children_.set_deadline(child, now_ + delay);
  publish(child, ServiceBackingOff{delay, child.failures, reason});
  if (in_groups() && in_list_order()) {
    // Item 27: the later ones stay down. The retry is keyed on this child and brings them back.
    while (!waiting_.empty()) {
      Child& later = *waiting_.begin()->second;
      enter(later, Phase::stopped);
      call_off_start(later);
    }
  }
}

// Waits before the restart, not after it: a crash loop must not spin.
void Supervision::restart(Child& child, Duration delay, const ExitReason& reason) {
  if (delay > Duration::zero()) publish(child, ServiceBackingOff{delay, child.failures, reason});
  if (in_groups()) return begin_group(child, delay);
  if (delay == Duration::zero()) {
    return start_when_possible(child, StartCause::restart, Attempt::automatic);
  }
  enter(child, Phase::backing_off);
  children_.set_deadline(child, now_ + delay);
}

// Failures in a row; a run that was healthy for long enough forgets those before it.
Duration Supervision::count_failure(Child& child) {
  const Backoff::Limits& limits = child.spec->backoff;
  if (child.ready_at && now_ - *child.ready_at >= limits.stable_after) child.failures = 0;
  return Backoff::delay(limits, ++child.failures, random_);
}

// Ended for good, as it may: clean, or temporary.
void Supervision::retire(Child& child, const ExitReason& reason) {
  const bool significant = child.spec->significant;
  const std::string id = child.id;
  enter(child, Phase::completed);
  if (reason.is_clean()) publish(child, ServiceCompleted{reason});
  if (&child == probed_) recovered(child);
  wake_dependents(child);
  if (leaves_nothing(child)) remove(child);
  if (significant) significant_ended(id);
}

// Its exit code said that a restart is no use. A significant child that failed for good has ended
// as surely as one that finished, so auto_shutdown hears of it, too.
void Supervision::fail_for_good(Child& child, const ExitReason& reason) {
  const bool significant = child.spec->significant;
  const std::string id = child.id;
  enter(child, Phase::failed);
  publish(child, ServiceFailed{reason});
  forget_probe(child);
  settle(child);
  if (leaves_nothing(child)) remove(child);
  if (significant) significant_ended(id);
}

void Supervision::significant_ended(const std::string& id) {
  const AutoShutdown rule = flags_.auto_shutdown;
  if (rule == AutoShutdown::never) return;
  if (rule == AutoShutdown::all_significant && significant_ > 0) return;
  ended_by_itself_ = stage_ == Stage::starting || stage_ == Stage::up;
  begin_end(ExitReason::shutdown(
                fmt::format("auto_shutdown: {} after the end of \"{}\"", to_string(rule), id)),
            "auto_shutdown");
}

// ---- The limit is passed ----

void Supervision::exhausted(Child& child, const ExitReason& reason) {
  if (flags_.on_exhausted == OnExhausted::probe) {
    probing_ = true;
    publish(SupervisorProbing{child.id, flags_.probe_interval});
    return probe_later(child, reason);
  }
  enter(child, Phase::stopped);
  publish(SupervisorGaveUp{child.id, flags_.max_restarts, flags_.period, reason});
  begin_end(
      ExitReason::shutdown(fmt::format(
          "reached_max_restart_intensity: more than {} restarts in {}, the last of \"{}\": {}",
          flags_.max_restarts, format_duration(flags_.period), child.id, reason.describe())),
      "give_up");
}

// While a supervisor probes, nothing counts: whatever fails waits for the slow try. In a group the
// try is a group restart; else the failed ones queue up and are tried one at a time, so that no one
// child can keep the others from theirs.
void Supervision::probe_later(Child& child, const ExitReason& reason) {
  ++child.failures;
  child.retry = false;
  if (in_groups()) {
    probed_ = &child;
    publish(child, ServiceBackingOff{flags_.probe_interval, child.failures, reason});
    return begin_group(child, flags_.probe_interval);
  }
  enter(child, Phase::backing_off);
  if (probed_ == &child) probed_ = nullptr;
  if (probe_due_ == Instant::max()) probe_due_ = now_ + flags_.probe_interval;
  publish(child, ServiceBackingOff{probe_due_ - now_, child.failures, reason});
  if (!std::exchange(child.exhausted, true)) exhausted_.push_back(child.id);
}

void Supervision::probe_next() {
  probe_due_ = Instant::max();
  if (probed_) {
    // Still undecided. The start of a service is bounded by its timeout and a run by stable_after,
    // and then its fate sets the next date. That of a supervisor may take for ever: it goes on, but
    // the others do not wait for it.
    const bool unbounded =
        probed_->phase == Phase::waiting ||
        (probed_->phase == Phase::starting && probed_->spec->type() == ChildType::supervisor);
    if (!unbounded || exhausted_.empty()) return;
    probed_ = nullptr;
  }
  while (Child* child = take_exhausted()) {
    // One whose dependency is down cannot show anything: it waits for that one, and the probe is
    // for the next.
    if (dependencies_met(*child)) probed_ = child;
    start_when_possible(*child, StartCause::probe, Attempt::automatic);
    if (!probed_) continue;
    if (!exhausted_.empty()) probe_due_ = now_ + flags_.probe_interval;
    return;
  }
  end_probing();  // Those that were waiting have been helped, or taken away, by hand.
}

Supervision::Child* Supervision::take_exhausted() {
  while (!exhausted_.empty()) {
    Child* child = children_.find(exhausted_.front());
    exhausted_.pop_front();
    // It may have been started, stopped or removed by a command meanwhile.
    if (child && std::exchange(child->exhausted, false) && child->phase == Phase::backing_off &&
        !child->has_deadline()) {
      return child;
    }
  }
  return nullptr;
}

// A probe stayed up: back to ordinary life. The others get the same chance at once; that start is
// still the probe's, and only what comes after it counts.
void Supervision::recovered(Child& child) {
  publish(SupervisorRecovered{child.id});
  child.failures = 0;
  end_probing();
  while (Child* other = take_exhausted()) {
    start_when_possible(*other, StartCause::probe, Attempt::automatic);
  }
}

// The one that was being tried was taken away: the next one's turn.
void Supervision::forget_probe(const Child& child) {
  if (probed_ != &child) return;
  probed_ = nullptr;
  if (exhausted_.empty()) return end_probing();
  probe_due_ = now_ + flags_.probe_interval;
}

void Supervision::end_probing() {
  probing_ = false;
  probed_ = nullptr;
  probe_due_ = Instant::max();
  intensity_.clear();
}

// ---- Time is up ----

void Supervision::on_deadline(Child& child) {
  switch (child.phase) {
    case Phase::starting:
      child.verdict = ExitKind::start_timeout;
      actions_.emplace_back(action::Kill{child.run});
      return;
    case Phase::stopping: return begin_kill(child);
    case Phase::running:
      if (&child == probed_) recovered(child);
      return;
    case Phase::backing_off: return retry_is_due(child);
    case Phase::stopped:
    case Phase::waiting:
    case Phase::failed:
    case Phase::completed: return;
  }
}

void Supervision::retry_is_due(Child& child) {
  if (!std::exchange(child.retry, false)) {  // After a crash: counted when it happened.
    return start_when_possible(child, StartCause::restart, Attempt::automatic);
  }
  const auto reason = child.last_exit;
  if (probing_) return probe_later(child, *reason);
  if (intensity_.record(now_) == RestartIntensity::Verdict::give_up) {
    return exhausted(child, *reason);
  }
  restart(child, Duration::zero(), *reason);
}

// ---- The end ----

// From here on nothing is started, nobody waits, and all that is left is to stop in order.
void Supervision::begin_end(ExitReason reason, std::string cause) {
  if (stage_ == Stage::ending || stage_ == Stage::ended) return;
  stage_ = Stage::ending;
  end_reason_ = std::move(reason);
  end_cause_ = std::move(cause);
  group_.reset();
  end_probing();
  exhausted_.clear();
  refuse_waiting_calls();
  std::vector<Child*> all;
  all.reserve(children_.size());
  for (auto& [order, child] : children_) {
    child.after_stop = AfterStop::stay;
    if (child.phase == Phase::waiting || child.phase == Phase::backing_off) {
      enter(child, Phase::stopped);
    }
    all.push_back(&child);
  }
  leave(all);
}

}  // namespace unirun
