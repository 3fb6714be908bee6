#include "supervisors/child_spec.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

namespace unirun {

std::string_view to_string(RestartStrategy strategy) {
  switch (strategy) {
    case RestartStrategy::one_for_one: return "one_for_one";
    case RestartStrategy::one_for_all: return "one_for_all";
    case RestartStrategy::rest_for_one: return "rest_for_one";
    case RestartStrategy::simple_one_for_one: return "simple_one_for_one";
  }
  return {};
}

std::string_view to_string(Restart restart) {
  switch (restart) {
    case Restart::permanent: return "permanent";
    case Restart::transient: return "transient";
    case Restart::temporary: return "temporary";
  }
  return {};
}

std::string_view to_string(ChildType type) {
  switch (type) {
    case ChildType::worker: return "worker";
    case ChildType::supervisor: return "supervisor";
  }
  return {};
}

std::string_view to_string(AutoShutdown auto_shutdown) {
  switch (auto_shutdown) {
    case AutoShutdown::never: return "never";
    case AutoShutdown::any_significant: return "any_significant";
    case AutoShutdown::all_significant: return "all_significant";
  }
  return {};
}

std::string_view to_string(OnExhausted on_exhausted) {
  switch (on_exhausted) {
    case OnExhausted::escalate: return "escalate";
    case OnExhausted::probe: return "probe";
  }
  return {};
}

std::string_view to_string(DependencyCondition condition) {
  switch (condition) {
    case DependencyCondition::started: return "started";
    case DependencyCondition::ready: return "ready";
    case DependencyCondition::completed: return "completed";
  }
  return {};
}

Shutdown ChildSpec::effective_shutdown() const {
  if (shutdown) return *shutdown;
  if (type() == ChildType::supervisor) return Infinity{};
  return Duration{std::chrono::seconds{5}};
}

namespace {

// Collects faults below one place: "children/2", "children/2/supervisor/children/0", ...
class Faults {
 public:
  explicit Faults(std::string place) : place_(std::move(place)) {}

  void add(Errc code, std::string_view member, std::string message) {
    found_.push_back({code, below(member), std::move(message)});
  }
  void take(std::vector<SpecFault> others) {
    std::move(others.begin(), others.end(), std::back_inserter(found_));
  }
  [[nodiscard]] std::string below(std::string_view member) const {
    if (place_.empty() || member.empty()) return place_ + std::string(member);
    return fmt::format("{}/{}", place_, member);
  }
  [[nodiscard]] std::vector<SpecFault> take_all() { return std::move(found_); }

 private:
  std::string place_;
  std::vector<SpecFault> found_;
};

constexpr auto bad_child = Errc::invalid_child_spec;
constexpr auto bad_flags = Errc::invalid_supervisor_spec;

std::vector<SpecFault> check_supervisor(const SupervisorSpec& spec, const std::string& place);

void check_id(const ChildSpec& child, Faults& faults) {
  if (child.id.empty()) {
    faults.add(bad_child, "id", "missing id: every child needs one that no sibling has");
  } else if (child.id.find('/') != std::string::npos) {
    faults.add(
        bad_child, "id",
        fmt::format("bad id \"{}\": a slash parts the ids of a path; leave it out", child.id));
  }
}

void check_start(const ChildSpec& child, Faults& faults) {
  if (!child.service && !child.supervisor) {
    faults.add(bad_child, "", "missing start: give it a service or a supervisor");
    return;
  }
  if (child.service && child.supervisor) {
    faults.add(bad_child, "", "bad start: both a service and a supervisor; give one of the two");
    return;
  }
  if (child.supervisor) {
    faults.take(check_supervisor(*child.supervisor, faults.below("supervisor")));
    return;
  }
  const auto& target = child.service->target;
  if (const auto* command = std::get_if<CommandTarget>(&target)) {
    if (command->argv.empty() || command->argv.front().empty()) {
      faults.add(bad_child, "service", "bad start: an empty command; its first word is a program");
    }
  } else if (const auto* python = std::get_if<PythonTarget>(&target)) {
    if (python->target.find(':') == std::string::npos) {
      faults.add(bad_child, "service",
                 fmt::format("bad start: \"{}\" is not \"module:attribute\"", python->target));
    }
  } else if (std::get<NativeTarget>(target).name.empty()) {
    faults.add(bad_child, "service", "bad start: a native service without a name");
  }
}

void check_shutdown(const ChildSpec& child, Faults& faults) {
  if (!child.shutdown) return;
  const auto* after = std::get_if<Duration>(&*child.shutdown);
  if (after && *after < Duration::zero()) {
    faults.add(bad_child, "shutdown",
               fmt::format("bad shutdown: {} ns; brutal_kill, infinity or a time of 0 or more",
                           after->count()));
  }
}

void check_significant(const ChildSpec& child, const SupervisorSpec& parent, Faults& faults) {
  if (!child.significant) return;
  if (child.restart == Restart::permanent) {
    faults.add(bad_child, "significant",
               "bad significant: a permanent child never ends; make it transient or temporary");
  }
  if (parent.auto_shutdown == AutoShutdown::never) {
    faults.add(
        bad_child, "significant",
        "bad significant: its supervisor's auto_shutdown is never; choose any_significant or "
        "all_significant");
  }
}

void check_backoff(const ChildSpec& child, Faults& faults) {
  const Backoff::Limits& limits = child.backoff;
  if (to_string(limits.kind).empty()) {
    faults.add(bad_child, "backoff/kind", "bad backoff: immediate, fixed, linear or exponential");
  }
  if (limits.initial < Duration::zero() || limits.max < Duration::zero() ||
      limits.stable_after < Duration::zero()) {
    faults.add(bad_child, "backoff", "bad backoff: initial, max and stable_after are 0 or more");
  }
  if (limits.initial > limits.max) {
    faults.add(bad_child, "backoff", "bad backoff: initial is above max; nothing may be");
  }
  if (!(limits.factor >= 1.0)) {  // Also refuses what is not a number.
    faults.add(bad_child, "backoff/factor",
               fmt::format("bad backoff: factor {}; 1 or more", limits.factor));
  }
  if (!(limits.jitter >= 0.0 && limits.jitter <= 1.0)) {
    faults.add(bad_child, "backoff/jitter",
               fmt::format("bad backoff: jitter {}; from 0 to 1", limits.jitter));
  }
}

void check_dependency(const ChildSpec& child, const Dependency& dependency,
                      const FindSibling& find_sibling, std::string_view member, Faults& faults) {
  if (dependency.id == child.id) {
    faults.add(bad_child, member, fmt::format("\"{}\" depends on itself", child.id));
    return;
  }
  const ChildSpec* sibling = find_sibling(dependency.id);
  if (!sibling) {
    faults.add(bad_child, member,
               fmt::format("depends on \"{}\", which is no sibling; name a child of the same "
                           "supervisor",
                           dependency.id));
  } else if (sibling->restart == Restart::temporary) {
    faults.add(
        bad_child, member,
        fmt::format("depends on \"{}\", which is temporary and leaves no trace when it ends; "
                    "make it transient",
                    dependency.id));
  } else if (dependency.condition == DependencyCondition::completed &&
             sibling->restart == Restart::permanent) {
    faults.add(bad_child, member,
               fmt::format("waits for \"{}\" to complete, which is permanent and never does; make "
                           "it transient",
                           dependency.id));
  }
}

void check_dependencies(const ChildSpec& child, const SupervisorSpec& parent,
                        const FindSibling& find_sibling, Faults& faults) {
  if (child.depends_on.empty()) return;
  if (parent.strategy == RestartStrategy::simple_one_for_one) {
    faults.add(bad_child, "depends_on",
               "depends_on under simple_one_for_one: dynamic children have no order");
    return;
  }
  for (std::size_t i = 0; i < child.depends_on.size(); ++i) {
    check_dependency(child, child.depends_on[i], find_sibling, fmt::format("depends_on/{}", i),
                     faults);
  }
}

std::vector<SpecFault> check_child(const ChildSpec& child, const SupervisorSpec& parent,
                                   const FindSibling& find_sibling, std::string place) {
  Faults faults(std::move(place));
  check_id(child, faults);
  check_start(child, faults);
  if (child.executor.empty() && child.service) {
    faults.add(bad_child, "executor", "missing executor: where is the service to live?");
  }
  if (to_string(child.restart).empty()) {
    faults.add(bad_child, "restart", "bad restart type: permanent, transient or temporary");
  }
  if (child.start_timeout <= Duration::zero()) {
    faults.add(bad_child, "start_timeout", "bad start timeout: more than 0");
  }
  check_shutdown(child, faults);
  check_significant(child, parent, faults);
  check_backoff(child, faults);
  check_dependencies(child, parent, find_sibling, faults);
  return faults.take_all();
}

using SpecsById = std::unordered_map<std::string_view, const ChildSpec*>;

// Takes away, again and again, what depends on nothing that is left (Kahn). What then remains
// stands in a circle or behind one; walking along the dependencies from anywhere in it closes one.
std::string find_cycle(const std::vector<ChildSpec>& children, const SpecsById& by_id) {
  std::unordered_map<std::string_view, std::size_t> open;
  std::unordered_map<std::string_view, std::vector<const ChildSpec*>> dependents;
  std::vector<const ChildSpec*> free;
  for (const ChildSpec& child : children) {
    std::size_t count = 0;
    for (const Dependency& dependency : child.depends_on) {
      if (by_id.count(dependency.id) == 0 || dependency.id == child.id) continue;
      dependents[dependency.id].push_back(&child);
      ++count;
    }
    open[child.id] = count;
    if (count == 0) free.push_back(&child);
  }
  while (!free.empty()) {
    const ChildSpec* child = free.back();
    free.pop_back();
    for (const ChildSpec* dependent : dependents[child->id]) {
      if (--open[dependent->id] == 0) free.push_back(dependent);
    }
  }
  const auto stuck = std::find_if(children.begin(), children.end(),
                                  [&](const ChildSpec& child) { return open[child.id] > 0; });
  if (stuck == children.end()) return {};

  std::vector<std::string_view> walk;
  std::unordered_set<std::string_view> seen;
  const ChildSpec* at = &*stuck;
  while (seen.insert(at->id).second) {
    walk.push_back(at->id);
    const auto next = std::find_if(at->depends_on.begin(), at->depends_on.end(),
                                   [&](const Dependency& dependency) {
                                     return by_id.count(dependency.id) > 0 &&
                                            dependency.id != at->id && open[dependency.id] > 0;
                                   });
    at = by_id.at(next->id);
  }
  walk.push_back(at->id);
  return fmt::format("{}",
                     fmt::join(std::find(walk.begin(), walk.end(), at->id), walk.end(), " -> "));
}

void check_flags(const SupervisorSpec& spec, Faults& faults) {
  if (to_string(spec.strategy).empty()) {
    faults.add(bad_flags, "strategy",
               "bad strategy: one_for_one, one_for_all, rest_for_one or simple_one_for_one");
  }
  if (to_string(spec.auto_shutdown).empty()) {
    faults.add(bad_flags, "auto_shutdown",
               "bad auto_shutdown: never, any_significant or all_significant");
  }
  if (to_string(spec.on_exhausted).empty()) {
    faults.add(bad_flags, "on_exhausted", "bad on_exhausted: escalate or probe");
  }
  if (spec.period <= Duration::zero()) {
    faults.add(bad_flags, "period",
               fmt::format("bad period: {} ns; more than 0", spec.period.count()));
  }
  if (spec.probe_interval <= Duration::zero()) {
    faults.add(bad_flags, "probe_interval",
               fmt::format("bad probe interval: {} ns; more than 0", spec.probe_interval.count()));
  }
  if (spec.strategy == RestartStrategy::simple_one_for_one && spec.children.size() != 1) {
    faults.add(
        bad_flags, "children",
        fmt::format("{} templates: simple_one_for_one has exactly one", spec.children.size()));
  }
}

std::vector<SpecFault> check_supervisor(const SupervisorSpec& spec, const std::string& place) {
  Faults faults(place);
  check_flags(spec, faults);

  SpecsById by_id;
  const FindSibling find_sibling = [&](std::string_view id) -> const ChildSpec* {
    const auto found = by_id.find(id);
    return found == by_id.end() ? nullptr : found->second;
  };
  bool ids_are_unique = true;
  for (std::size_t i = 0; i < spec.children.size(); ++i) {
    const ChildSpec& child = spec.children[i];
    if (!by_id.emplace(child.id, &child).second) {
      ids_are_unique = false;
      if (child.id.empty()) continue;  // Told as a missing id.
      faults.add(Errc::duplicate_id, fmt::format("children/{}/id", i),
                 fmt::format("duplicate id \"{}\": a sibling has it already", child.id));
    }
  }
  for (std::size_t i = 0; i < spec.children.size(); ++i) {
    faults.take(check_child(spec.children[i], spec, find_sibling,
                            faults.below(fmt::format("children/{}", i))));
  }
  if (ids_are_unique) {  // Else a name in a circle might mean two children.
    if (const std::string cycle = find_cycle(spec.children, by_id); !cycle.empty()) {
      faults.add(bad_flags, "children",
                 fmt::format("a cycle of dependencies: {}; one of them must go", cycle));
    }
  }
  return faults.take_all();
}

}  // namespace

std::vector<SpecFault> check(const SupervisorSpec& spec) { return check_supervisor(spec, {}); }

std::vector<SpecFault> check(const ChildSpec& child, const SupervisorSpec& parent,
                             const FindSibling& find_sibling) {
  return check_child(child, parent, find_sibling, {});
}

std::vector<SpecFault> check(const ChildSpec& child, const SupervisorSpec& parent) {
  return check(child, parent, [&](std::string_view id) -> const ChildSpec* {
    const auto found = std::find_if(parent.children.begin(), parent.children.end(),
                                    [&](const ChildSpec& sibling) { return sibling.id == id; });
    return found == parent.children.end() ? nullptr : &*found;
  });
}

Error to_error(const std::vector<SpecFault>& faults) {
  UNIRUN_REQUIRE(!faults.empty());
  std::string message;
  for (const SpecFault& fault : faults) {
    if (!message.empty()) message += "; ";
    message +=
        fault.where.empty() ? fault.message : fmt::format("{}: {}", fault.where, fault.message);
  }
  return {faults.front().code, std::move(message)};
}

}  // namespace unirun
