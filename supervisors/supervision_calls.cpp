// Calls: what one may ask of a supervisor, and the answers (items 41 to 46, 30, 33 and 53).

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "framework/require.h"
#include "supervisors/supervision.h"

namespace unirun {
namespace {

Error not_found(std::string_view id) {
  return {Errc::not_found, fmt::format("no child \"{}\" here", id)};
}

std::string to_text(const ChildRef& ref) {
  if (const auto* id = std::get_if<std::string>(&ref)) return *id;
  return fmt::format("run {}", static_cast<std::uint64_t>(std::get<RunId>(ref)));
}

// The child that a command is about; of a dynamic start there is none yet.
const std::string* id_in(const Command& command) {
  return std::visit(
      [](const auto& c) -> const std::string* {
        if constexpr (requires { c.child; }) return std::get_if<std::string>(&c.child);
        if constexpr (std::is_same_v<std::decay_t<decltype(c)>, command::StartChild>) {
          return &c.spec->id;
        }
        return nullptr;
      },
      command);
}

}  // namespace

Actions Supervision::on_call(CallId call, const Command& command, Instant now) {
  now_ = now;
  if (stage_ == Stage::ending || stage_ == Stage::ended) {
    reply(call, Error{Errc::shutting_down, "the supervisor is shutting down"});
  } else if (must_wait(command)) {
    waiting_calls_.emplace_back(call, command);
  } else {
    carry_out(call, command);
  }
  return finish();
}

// ---- Waiting for one's turn ----

// Is a sequence going on that a call must not cut through? Not while a group waits for its delay or
// a child for its dependency: that may take long, and no call may wait for ever.
bool Supervision::busy() const {
  return in_motion_ > 0 || leaving_ > 0 || (group_ && !group_->start_due);
}

bool Supervision::must_wait(const Command& command) const {
  if (!in_groups()) return false;
  if (std::holds_alternative<command::Kill>(command)) return false;
  if (std::holds_alternative<command::TerminateChild>(command)) {
    // It waits for nobody, except for calls about the same child that came before it.
    const std::string* id = id_in(command);
    return id && std::any_of(waiting_calls_.begin(), waiting_calls_.end(), [&](const auto& other) {
             const std::string* its = id_in(other.second);
             return its && *its == *id;
           });
  }
  return busy() || !waiting_calls_.empty();
}

void Supervision::serve_waiting_calls() {
  while (!waiting_calls_.empty() && !(in_groups() && busy())) {
    const auto [call, command] = std::move(waiting_calls_.front());
    waiting_calls_.pop_front();
    carry_out(call, command);
  }
}

void Supervision::refuse_waiting_calls() {
  const Error refusal{Errc::shutting_down, "the supervisor is shutting down"};
  for (auto& [call, command] : std::exchange(waiting_calls_, {})) reply(call, refusal);
  for (auto& [order, child] : children_) {
    answer(child, Awaits::start, refusal);
    for (auto& [call, command] : std::exchange(child.deferred, {})) reply(call, refusal);
  }
}

// A call on a child that is just being stopped is served when it is down: then it is clear what is
// left of it.
bool Supervision::defer_until_down(CallId call, Child& child, const Command& command) {
  if (child.phase != Phase::stopping) return false;
  child.deferred.emplace_back(call, command);
  return true;
}

// ---- Commands ----

void Supervision::carry_out(CallId call, const Command& command) {
  std::visit([&](const auto& c) { carry_out(call, c); }, command);
}

void Supervision::carry_out(CallId call, const command::StartChild& command) {
  if (dynamic()) {
    return reply(call, Error{Errc::simple_one_for_one,
                             "simple_one_for_one starts children from its template: give arguments "
                             "and not a spec"});
  }
  const auto faults = check(*command.spec, flags_, [&](std::string_view id) -> const ChildSpec* {
    const Child* sibling = children_.find(id);
    return sibling ? sibling->spec.get() : nullptr;
  });
  if (!faults.empty()) return reply(call, to_error(faults));
  const std::string& id = command.spec->id;
  if (Child* present = children_.find(id)) {
    if (defer_until_down(call, *present, command)) return;
    const bool runs = present->has_run() || present->phase == Phase::waiting;
    return reply(call, Error{runs ? Errc::already_started : Errc::already_present,
                             runs ? fmt::format("\"{}\" runs already", id)
                                  : fmt::format("\"{}\" is there already, and does not run: "
                                                "restart_child starts it",
                                                id)});
  }
  Child& child = children_.add(id, command.spec);
  if (graph_ || !child.spec->depends_on.empty()) graph_ = children_.link_dependencies();
  child.add_caller(call, Awaits::start);
  start_when_possible(child, StartCause::command, Attempt::added);
}

void Supervision::carry_out(CallId call, const command::StartDynamicChild& command) {
  if (!dynamic()) {
    return reply(call, Error{Errc::invalid_argument,
                             fmt::format("start_child by arguments is for simple_one_for_one; this "
                                         "supervisor is {}: give a child spec",
                                         to_string(flags_.strategy))});
  }
  Child& child = children_.add(fmt::format("{}-{}", template_->id, ++dynamic_children_), template_);
  if (command.arguments && !command.arguments->empty()) child.arguments = command.arguments;
  child.add_caller(call, Awaits::start);
  start_when_possible(child, StartCause::command, Attempt::added);
}

void Supervision::carry_out(CallId call, const command::TerminateChild& command) {
  if (dynamic()) {
    bool is_gone = false;
    const Result<Child*> child = find_dynamic(command.child, is_gone);
    if (child) return terminate(call, **child);
    // A handle that is dead already is as good as terminated.
    if (!is_gone) return reply(call, child.error());
    ChildSnapshot gone;
    gone.id = to_text(command.child);
    return reply(call, std::move(gone));
  }
  const Result<Child*> child = find(command.child);
  if (!child) return reply(call, child.error());
  terminate(call, **child);
}

void Supervision::terminate(CallId call, Child& child) {
  child.after_stop = leaves_nothing(child) ? AfterStop::remove : AfterStop::stay;
  if (child.has_run()) {
    child.add_caller(call, Awaits::stop);
    if (child.phase == Phase::stopping) return call_off_start(child);
    // In a sequence it is stopped when its turn comes.
    if (!child.leaving) begin_stop(child, "command");
    return;
  }
  call_off_start(child);
  child.retry = false;
  if (child.phase == Phase::waiting || child.phase == Phase::backing_off) {
    enter(child, Phase::stopped);
  }
  reply(call, describe(child));
  if (!child.leaving) after_stop(child);
}

void Supervision::call_off_start(Child& child) {
  answer(child, Awaits::start,
         Error{Errc::cancelled, fmt::format("\"{}\" was taken down before it was up", child.id)});
}

void Supervision::carry_out(CallId call, const command::RestartChild& command) {
  if (const auto refusal = refuse_if_dynamic("restart_child")) return reply(call, *refusal);
  const Result<Child*> found = find(command.child);
  if (!found) return reply(call, found.error());
  Child& child = **found;
  if (defer_until_down(call, child, command)) return;
  if (const auto refusal = refuse_unless_down(child)) return reply(call, *refusal);
  child.add_caller(call, Awaits::start);
  start_when_possible(child, StartCause::command, Attempt::by_hand);
}

void Supervision::carry_out(CallId call, const command::DeleteChild& command) {
  if (const auto refusal = refuse_if_dynamic("delete_child")) return reply(call, *refusal);
  const Result<Child*> found = find(command.child);
  if (!found) return reply(call, found.error());
  Child& child = **found;
  if (defer_until_down(call, child, command)) return;
  if (const auto refusal = refuse_unless_down(child)) return reply(call, *refusal);
  if (!child.dependents().empty()) {
    return reply(call, Error{Errc::invalid_argument,
                             fmt::format("\"{}\" depends on \"{}\": delete that one first",
                                         child.dependents().front()->id, child.id)});
  }
  reply(call, describe(child));
  remove(child);
}

void Supervision::carry_out(CallId call, const command::Restart& command) {
  const Result<Child*> found = find(command.child);
  if (!found) return reply(call, found.error());
  Child& child = **found;
  switch (child.phase) {
    case Phase::waiting:
    case Phase::starting: break;  // A fresh start is on its way: wait for that one.
    case Phase::running:
      begin_stop(child, "command");
      child.after_stop = AfterStop::start;
      break;
    case Phase::stopping:
      // One that is about to vanish is gone by then; a terminated one comes back.
      if (child.after_stop == AfterStop::remove) {
        child.deferred.emplace_back(call, command);
        return;
      }
      child.after_stop = AfterStop::start;
      break;
    case Phase::backing_off:
      child.retry = false;
      child.add_caller(call, Awaits::start);
      return start_when_possible(child, StartCause::command, Attempt::automatic);
    case Phase::stopped:
    case Phase::failed:
    case Phase::completed:
      child.add_caller(call, Awaits::start);
      return start_when_possible(child, StartCause::command, Attempt::by_hand);
  }
  child.add_caller(call, Awaits::start);
}

void Supervision::carry_out(CallId call, const command::Kill& command) {
  const Result<Child*> found = find(command.child);
  if (!found) return reply(call, found.error());
  if (!(*found)->has_run()) {
    return reply(call,
                 Error{Errc::invalid_argument,
                       fmt::format("\"{}\" does not run: there is nothing to kill", (*found)->id)});
  }
  actions_.emplace_back(action::Kill{(*found)->run});
  (*found)->add_caller(call, Awaits::kill);  // Answered by end_of_run().
}

void Supervision::carry_out(CallId call, const command::CodeChange& command) {
  if (const auto refusal = refuse_change(*command.spec)) return reply(call, *refusal);
  change_children(command.spec);
  const SupervisorSpec& spec = *command.spec;
  flags_ = flags_of(spec);
  intensity_.set_limits({spec.max_restarts, spec.period});
  reply(call, ChildSnapshot{});
  start_all_possible();  // The order may be another one now.
}

std::optional<Error> Supervision::refuse_change(const SupervisorSpec& spec) const {
  if (const auto faults = check(spec); !faults.empty()) return to_error(faults);
  if (dynamic() != (spec.strategy == RestartStrategy::simple_one_for_one)) {
    return Error{Errc::invalid_supervisor_spec,
                 fmt::format("cannot change from {} to {}: a template can be replaced, but neither "
                             "added nor taken away",
                             to_string(flags_.strategy), to_string(spec.strategy))};
  }
  return std::nullopt;
}

// Item 53: known specs are replaced and their processes kept, new ones join and are not started,
// missing ones are kept. The new list comes first in the order, as it stands there; the rest keeps
// its order behind it, as in OTP.
void Supervision::change_children(const std::shared_ptr<const SupervisorSpec>& spec) {
  if (dynamic()) {
    template_ = {spec, &spec->children.front()};
    for (auto& [order, child] : children_) replace_spec(child, template_);
    return;
  }
  std::vector<Child*> listed;
  for (const ChildSpec& given : spec->children) {
    std::shared_ptr<const ChildSpec> shared(spec, &given);
    Child* child = children_.find(given.id);
    if (child) {
      replace_spec(*child, std::move(shared));
    } else {
      child = &children_.add(given.id, std::move(shared));
      child->since = now_;
    }
    listed.push_back(child);
  }
  children_.reorder(listed);
  waiting_.clear();
  for (auto& [order, child] : children_) {
    if (child.phase == Phase::waiting) waiting_.emplace(order, &child);
  }
  graph_ = children_.link_dependencies();
}

void Supervision::replace_spec(Child& child, std::shared_ptr<const ChildSpec> spec) {
  if (child.spec->significant && is_up(child.phase)) --significant_;
  children_.replace_spec(child, std::move(spec));
  if (child.spec->significant && is_up(child.phase)) ++significant_;
  if (child.after_stop == AfterStop::remove || child.after_stop == AfterStop::stay) {
    child.after_stop = leaves_nothing(child) ? AfterStop::remove : AfterStop::stay;
  }
}

// ---- Finding ----

Result<Supervision::Child*> Supervision::find(const ChildRef& ref) const {
  Child* child = std::visit([&](const auto& key) { return children_.find(key); }, ref);
  if (!child) return not_found(to_text(ref));
  return child;
}

// A dynamic child has no id of its own making (item 33). Its handle is its run, or the name that we
// gave it; a name that we once gave and that is here no more is a dead handle, and so is a run that
// lives nowhere. Any other name is an id, and those mean nothing here.
Result<Supervision::Child*> Supervision::find_dynamic(const ChildRef& ref, bool& is_gone) const {
  if (Result<Child*> child = find(ref)) return child;
  if (const auto* run = std::get_if<RunId>(&ref)) {
    is_gone = !runs_.alive(*run);
    return not_found(to_text(ref));  // A live stranger.
  }
  const std::string& name = std::get<std::string>(ref);
  const std::string prefix = template_->id + "-";
  if (name.compare(0, prefix.size(), prefix) == 0) {
    const std::string number = name.substr(prefix.size());
    const bool is_number = !number.empty() && number.size() < 19 && number.front() != '0' &&
                           number.find_first_not_of("0123456789") == std::string::npos;
    is_gone = is_number && std::stoull(number) <= dynamic_children_;
  }
  return Error{Errc::simple_one_for_one,
               fmt::format("\"{}\" is no handle: under simple_one_for_one name a child by its run, "
                           "or as which_children does",
                           name)};
}

std::optional<Error> Supervision::refuse_if_dynamic(std::string_view call) const {
  if (!dynamic()) return std::nullopt;
  return Error{
      Errc::simple_one_for_one,
      fmt::format("{} is not for the children of simple_one_for_one: terminate_child takes "
                  "one away, start_child adds another",
                  call)};
}

std::optional<Error> Supervision::refuse_unless_down(const Child& child) const {
  switch (child.phase) {
    case Phase::stopped:
    case Phase::failed:
    case Phase::completed:
      if (!child.leaving) return std::nullopt;
      return Error{Errc::restarting, fmt::format("\"{}\" comes back with its group", child.id)};
    case Phase::waiting:
      return Error{Errc::restarting, fmt::format("\"{}\" is waiting to be started", child.id)};
    case Phase::backing_off:
      return Error{Errc::restarting, fmt::format("\"{}\" is being restarted", child.id)};
    case Phase::starting:
    case Phase::running:
    case Phase::stopping:
      return Error{Errc::running, fmt::format("\"{}\" runs: terminate_child stops it", child.id)};
  }
  unreachable();
}

// ---- Answering ----

void Supervision::answer(Child& child, Awaits what, const Result<ChildSnapshot>& outcome) {
  answer(child.take_callers(what), outcome);
}

void Supervision::answer(const std::vector<CallId>& callers, const Result<ChildSnapshot>& outcome) {
  for (const CallId call : callers) reply(call, outcome);
}

void Supervision::reply(CallId call, Result<ChildSnapshot> outcome) {
  actions_.emplace_back(action::Reply{call, std::move(outcome)});
}

void Supervision::publish(const Child& child, EventPayload payload) {
  actions_.emplace_back(action::Publish{child.id, std::move(payload)});
}

void Supervision::publish(EventPayload payload) {
  actions_.emplace_back(action::Publish{{}, std::move(payload)});
}

// ---- Questions ----

ServiceState Supervision::state_of(const Child& child) const {
  // The one whose crash a group waits for is backing off, whatever its place in the sequence.
  if (group_ && group_->start_due && group_->origin == child.id && child.phase == Phase::waiting) {
    return ServiceState::backing_off;
  }
  switch (child.phase) {
    case Phase::stopped: return ServiceState::stopped;
    case Phase::waiting: return ServiceState::starting;
    case Phase::starting: return ServiceState::starting;
    // One that has come and gone is not said to run, not even while its end is being judged.
    case Phase::running: return child.over ? ServiceState::starting : ServiceState::running;
    case Phase::stopping: return ServiceState::stopping;
    case Phase::backing_off: return ServiceState::backing_off;
    case Phase::failed: return ServiceState::failed;
    case Phase::completed: return ServiceState::completed;
  }
  unreachable();
}

std::vector<std::string> Supervision::waiting_for(const Child& child) const {
  std::vector<std::string> ids;
  if (child.phase != Phase::waiting) return ids;
  if (held()) {
    if (group_->origin != child.id) ids.push_back(group_->origin);
  } else if (in_list_order()) {
    if (starting_in_list_) ids.push_back(starting_in_list_->id);
  } else {
    for (std::size_t i = 0; i < child.dependencies().size(); ++i) {
      const Child* dependency = child.dependencies()[i];
      const Dependency& wanted = child.spec->depends_on[i];
      if (!dependency || !dependency_met(*dependency, wanted.condition)) ids.push_back(wanted.id);
    }
  }
  return ids;
}

ChildSnapshot Supervision::describe(const Child& child) const {
  ChildSnapshot snapshot;
  snapshot.id = child.id;
  snapshot.type = child.spec->type();
  if (child.spec->service) snapshot.executor = child.spec->executor;
  snapshot.restart = child.spec->restart;
  snapshot.significant = child.spec->significant;
  snapshot.state = state_of(child);
  snapshot.since = child.since;
  if (child.has_run()) snapshot.run = child.run;
  snapshot.pid = child.pid;
  snapshot.restarts = child.restarts;
  snapshot.failures = child.failures;
  if (snapshot.state == ServiceState::backing_off) {
    if (child.has_deadline()) snapshot.retry_at = child.deadline;
    if (child.phase == Phase::waiting) snapshot.retry_at = group_->start_due;
    if (child.exhausted && probe_due_ != Instant::max()) snapshot.retry_at = probe_due_;
  }
  snapshot.last_exit = child.last_exit;
  snapshot.waiting_for = waiting_for(child);
  return snapshot;
}

std::vector<ChildSnapshot> Supervision::children() const {
  std::vector<ChildSnapshot> all;
  all.reserve(children_.size());
  for (const auto& [order, child] : children_) all.push_back(describe(child));
  return all;
}

Result<ChildSnapshot> Supervision::child(const ChildRef& ref) const {
  const Result<Child*> found = find(ref);
  if (!found) return found.error();
  return describe(**found);
}

Result<ChildSpec> Supervision::childspec(const ChildRef& ref) const {
  // A dynamic supervisor knows one spec, and its id is the template's.
  const auto* id = std::get_if<std::string>(&ref);
  if (template_ && id && *id == template_->id) return *template_;
  const Result<Child*> found = find(ref);
  if (!found) return found.error();
  ChildSpec spec = *(*found)->spec;
  spec.shutdown = spec.effective_shutdown();  // Defaults filled in (item 45).
  return spec;
}

ChildCounts Supervision::counts() const {
  ChildCounts counts;
  counts.specs = dynamic() ? 1 : children_.size();
  counts.active = children_.with_run();
  counts.supervisors = children_.supervisors();
  counts.workers = children_.size() - children_.supervisors();
  return counts;
}

SupervisorSnapshot Supervision::snapshot(Instant now) const {
  SupervisorSnapshot snapshot;
  snapshot.strategy = flags_.strategy;
  snapshot.max_restarts = flags_.max_restarts;
  snapshot.period = flags_.period;
  snapshot.recent_restarts = intensity_.recent(now);
  snapshot.started = said_started_;
  snapshot.stopping = stage_ == Stage::ending;
  snapshot.probing = probing_;
  return snapshot;
}

}  // namespace unirun
