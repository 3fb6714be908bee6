#include "host/forensics.h"

#include <utility>
#include <vector>

namespace unirun {
namespace {

constexpr std::size_t kept_lines = 20;
// The ring may hold lines of later runs already.
constexpr std::size_t looked_at_lines = 200;

const EventKinds observed_kinds = EventKinds(EventKind::service_exited) |
                                  EventKind::service_backing_off | EventKind::service_starting |
                                  EventKind::service_stopping | EventKind::service_failed |
                                  EventKind::service_completed | EventKind::service_removed |
                                  EventKind::supervisor_gave_up | EventKind::supervisor_probing;

std::string join_path(const std::string& supervisor, const std::string& id) {
  return supervisor.empty() ? id : supervisor + '/' + id;
}

std::string_view rule_of(Restart restart) {
  switch (restart) {
    case Restart::permanent: return "permanent: restarted after every exit";
    case Restart::transient: return "transient: restarted after an abnormal exit only";
    case Restart::temporary: return "temporary: never restarted";
  }
  unreachable();
}

std::string_view rule_of(RestartStrategy strategy) {
  switch (strategy) {
    case RestartStrategy::one_for_one: return "one_for_one: alone";
    case RestartStrategy::one_for_all: return "one_for_all: with all its siblings";
    case RestartStrategy::rest_for_one: return "rest_for_one: with those that started after it";
    case RestartStrategy::simple_one_for_one: return "simple_one_for_one: alone";
  }
  unreachable();
}

}  // namespace

Forensics::Forensics(EventLoop& loop, EventBus& bus, const OutputStore& output,
                     const SupervisionTree& tree, Sink sink)
    : loop_(loop), output_(output), tree_(tree), sink_(std::move(sink)) {
  subscription_ = bus.subscribe(
      observed_kinds, [this](const Event& event) { observe(event); }, "forensics");
}

void Forensics::observe(const Event& event) {
  const std::string& path = event.path;
  if (const auto* exit = std::get_if<ServiceExited>(&event.payload)) {
    on_exit(event, *exit);
  } else if (const auto* wait = std::get_if<ServiceBackingOff>(&event.payload)) {
    open(event, wait->reason).delay = wait->delay;
  } else if (const auto* start = std::get_if<ServiceStarting>(&event.payload)) {
    const auto found = cases_.find(path);
    if (found == cases_.end()) return;
    found->second.record.restarts = start->restarts;
    decide(path, start->cause == StartCause::restart
                     ? "restarted"
                     : "started by " + std::string(to_string(start->cause)));
  } else if (const auto* failed = std::get_if<ServiceFailed>(&event.payload)) {
    open(event, failed->reason);
    decide(path, "failed for good");
  } else if (std::holds_alternative<ServiceCompleted>(event.payload)) {
    decide(path, "completed");
  } else if (std::holds_alternative<ServiceRemoved>(event.payload)) {
    decide(path, "removed");
  } else if (const auto* stop = std::get_if<ServiceStopping>(&event.payload)) {
    if (stop->cause == "sibling") on_sibling_stopped(path);
  } else if (const auto* gave_up = std::get_if<SupervisorGaveUp>(&event.payload)) {
    on_give_up(event, *gave_up);
  } else if (const auto* probing = std::get_if<SupervisorProbing>(&event.payload)) {
    decide(join_path(path, probing->child), "probed every " + describe_duration(probing->interval));
  }
}

void Forensics::on_exit(const Event& event, const ServiceExited& exit) {
  // What we asked for and got is no death to explain.
  if (exit.expected && exit.reason.is_clean()) return;
  cases_.erase(event.path);
  DeathRecord& record = open(event, exit.reason);
  record.run = exit.run;
  record.pid = exit.pid;
  record.uptime = exit.uptime;
  record.was_ready = exit.was_ready;
  if (exit.expected) record.decision = "stopped as asked, but not cleanly";
}

// The child's own record says that it was the last straw; the supervisor gets one as well.
void Forensics::on_give_up(const Event& event, const SupervisorGaveUp& give_up) {
  const std::string limit =
      std::to_string(give_up.max_restarts) + " restarts in " + describe_duration(give_up.period);
  decide(join_path(event.path, give_up.child), "given up: more than " + limit);
  DeathRecord& own =
      open(event, ExitReason::shutdown("more than " + limit + "; the last of " + give_up.child +
                                       ": " + give_up.reason.describe()));
  own.rule = "at most " + limit;
  decide(event.path, "handed up");
}

void Forensics::on_sibling_stopped(const std::string& path) {
  const auto cause = last_death_.find(split_path(path).first);
  if (cause == last_death_.end()) return;
  const auto found = cases_.find(cause->second);
  if (found == cases_.end()) return;
  found->second.record.also_stopped.push_back(path);
  hand_over_soon(found->first);
}

// The case of this path, opened if there is none: a failed launch has no exit.
DeathRecord& Forensics::open(const Event& event, const ExitReason& reason) {
  const auto [found, is_new] = cases_.try_emplace(event.path);
  Case& one = found->second;
  if (is_new || one.closed) {
    one = {};
    one.record.sequence = event.sequence;
    one.record.at = event.wall;
    one.record.path = event.path;
    one.record.reason = reason;
    last_death_[split_path(event.path).first] = event.path;
  }
  hand_over_soon(event.path);
  return one.record;
}

void Forensics::decide(const std::string& path, std::string decision) {
  const auto found = cases_.find(path);
  if (found == cases_.end() || found->second.closed) return;
  found->second.record.decision = std::move(decision);
  found->second.closed = true;
  hand_over_soon(path);
}

void Forensics::hand_over_soon(const std::string& path) {
  changed_.push_back(path);
  if (changed_.size() > 1) return;  // On its way already.
  loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.lock()) hand_over();
  });
}

void Forensics::hand_over() {
  for (const std::string& path : std::exchange(changed_, {})) {
    const auto found = cases_.find(path);
    if (found == cases_.end()) continue;  // Named twice, and closed.
    DeathRecord& record = found->second.record;
    if (record.rule.empty()) describe_rule(record);
    add_last_lines(record);
    sink_(record);
    if (found->second.closed) cases_.erase(found);
  }
}

void Forensics::finish() { hand_over(); }

void Forensics::describe_rule(DeathRecord& record) const {
  const Result<ChildSnapshot> child = tree_.find(record.path);
  const Result<SupervisorSnapshot> supervisor = tree_.snapshot_of(split_path(record.path).first);
  if (child) record.rule = rule_of(child->restart);
  if (child && supervisor && child->restart != Restart::temporary) {
    record.rule += "; ";
    record.rule += rule_of(supervisor->strategy);
  }
}

void Forensics::add_last_lines(DeathRecord& record) const {
  if (!record.last_lines.empty()) return;
  for (OutputLine& line : output_.tail(record.path, looked_at_lines)) {
    if (line.run == record.run) record.last_lines.push_back(std::move(line.text));
  }
  if (record.last_lines.size() > kept_lines) {
    record.last_lines.erase(record.last_lines.begin(), record.last_lines.end() - kept_lines);
  }
}

}  // namespace unirun
