#include "tests/simulation/referee.h"

#include <algorithm>
#include <utility>

#include "supervisors/supervision_tree.h"

namespace unirun::testing {

Referee::Referee(SupervisorSpec root) : root_(open(root, {})) {}

void Referee::rule(bool kept, std::string_view what, std::string_view path) {
  if (kept || !breach_.empty()) return;
  breach_ = std::string(what) + ": \"" + std::string(path) + "\"";
}

// ---- The model ----

std::unique_ptr<Referee::Below> Referee::open(const SupervisorSpec& spec, std::string path) {
  auto below = std::make_unique<Below>();
  below->spec = spec;
  below->path = std::move(path);
  if (spec.strategy == RestartStrategy::simple_one_for_one) return below;
  for (const ChildSpec& child : spec.children) {
    Child& known = below->children[child.id];
    known.id = child.id;
    known.path = below->path.empty() ? child.id : below->path + "/" + child.id;
    known.parent = below.get();
    known.spec = std::make_shared<const ChildSpec>(child);
    known.order = ++below->last_order;
    known.joined = true;
    below->graph |= !child.depends_on.empty();
  }
  return below;
}

Referee::Below* Referee::supervisor_at(std::string_view path) {
  if (path.empty()) return root_.get();
  Child* child = child_at(path, false);
  return child ? child->below.get() : nullptr;
}

Referee::Child* Referee::child_at(std::string_view path, bool add_unknown) {
  Below* at = root_.get();
  for (;;) {
    const auto slash = path.find('/');
    const std::string_view id = path.substr(0, slash);
    auto found = at->children.find(id);
    if (found == at->children.end()) {
      if (!add_unknown || slash != std::string_view::npos) return nullptr;
      add(*at, std::string(id), nullptr);
      found = at->children.find(id);
    }
    if (slash == std::string_view::npos) return &found->second;
    at = found->second.below.get();
    if (!at) return nullptr;
    path.remove_prefix(slash + 1);
  }
}

void Referee::add(Below& below, const std::string& id, std::shared_ptr<const ChildSpec> spec) {
  Child& child = below.children[id];
  child.id = id;
  child.path = below.path.empty() ? id : below.path + "/" + id;
  child.parent = &below;
  if (!spec && below.spec.strategy == RestartStrategy::simple_one_for_one) {
    spec = std::make_shared<const ChildSpec>(below.spec.children.front());
  }
  child.spec = std::move(spec);
}

void Referee::on_spec(std::string_view path, const ChildSpec& spec) {
  Child* child = child_at(path, true);
  if (child && !child->joined) child->spec = std::make_shared<const ChildSpec>(spec);
}

void Referee::on_stop() { root_->ending = true; }

// ---- The rules ----

void Referee::on_event(const Event& event) {
  if (const auto* payload = std::get_if<ServiceStarting>(&event.payload)) {
    Child* child = child_at(event.path, true);
    rule(child != nullptr, "a start under a supervisor that does not run", event.path);
    if (child) starting(*child, *payload, event.at);
    return;
  }
  if (std::holds_alternative<SupervisorStopped>(event.payload)) {
    Below* below = supervisor_at(event.path);
    rule(below && !below->ended, "a supervisor ended that did not run", event.path);
    if (!below) return;
    below->ended = true;
    rule(!below->must_give_up || below->gave_up || below->ending,
         "more restarts than the intensity allows", event.path);
    for (const auto& [id, child] : below->children) {
      rule(!child.live, "a child outlived its supervisor", child.path);
    }
    return;
  }
  if (const auto* gave_up = std::get_if<SupervisorGaveUp>(&event.payload)) {
    if (Below* below = supervisor_at(event.path)) below->gave_up = below->ending = true;
    static_cast<void>(gave_up);
    return;
  }
  if (std::holds_alternative<SupervisorProbing>(event.payload)) {
    if (Below* below = supervisor_at(event.path)) {
      below->probing = true;
      below->must_give_up = false;
    }
    return;
  }
  if (std::holds_alternative<SupervisorRecovered>(event.payload)) {
    if (Below* below = supervisor_at(event.path)) {
      below->probing = false;
      below->restarts.clear();
    }
    return;
  }
  if (std::holds_alternative<SupervisorStarted>(event.payload)) return;

  Child* child = child_at(event.path, false);
  if (const auto* started = std::get_if<ServiceStarted>(&event.payload)) {
    rule(child && child->live && !child->ready && child->run == started->run,
         "ready without a start, or twice", event.path);
    if (child) child->ready = true;
  } else if (const auto* stop = std::get_if<ServiceStopping>(&event.payload)) {
    rule(child && child->live && child->run == stop->run, "a stop of what does not run",
         event.path);
    if (child) stopping(*child, *stop);
  } else if (const auto* exit = std::get_if<ServiceExited>(&event.payload)) {
    rule(child && child->live && child->run == exit->run, "an exit without a start, or twice",
         event.path);
    if (child) exited(*child, *exit, event.at);
  } else if (std::holds_alternative<ServiceCompleted>(event.payload)) {
    if (child) {
      child->completed = true;
      if (child->live) child->live = child->ready = false;  // It declined to run.
    }
  } else if (std::holds_alternative<ServiceRemoved>(event.payload)) {
    rule(child && !child->live, "removed while it runs", event.path);
    if (child) child->parent->children.erase(child->id);
  }
}

bool Referee::met(const Child* dependency, DependencyCondition condition) {
  if (!dependency) return false;
  if (dependency->completed && !dependency->live) return true;
  switch (condition) {
    case DependencyCondition::started: return dependency->live;
    case DependencyCondition::ready: return dependency->live && dependency->ready;
    case DependencyCondition::completed: return false;
  }
  return false;
}

bool Referee::depends(const Child& child, const std::string& id) {
  return child.spec && std::any_of(child.spec->depends_on.begin(), child.spec->depends_on.end(),
                                   [&](const Dependency& d) { return d.id == id; });
}

void Referee::starting(Child& child, const ServiceStarting& event, Instant at) {
  Below& below = *child.parent;
  rule(!child.live, "started twice", child.path);
  rule(runs_.insert(event.run).second, "a run has the name of an earlier one", child.path);
  rule(!below.ending && !below.ended, "started after the stop", child.path);
  rule(!below.must_give_up || below.ending, "more restarts than the intensity allows", child.path);
  const bool in_groups = below.spec.strategy == RestartStrategy::one_for_all ||
                         below.spec.strategy == RestartStrategy::rest_for_one;
  // In list order one at a time: of an initial start, and of everything automatic in a group.
  const auto in_sequence = [&](StartCause cause) {
    return cause == StartCause::initial || (in_groups && cause != StartCause::command);
  };
  if (below.spec.strategy != RestartStrategy::simple_one_for_one && !below.graph &&
      in_sequence(event.cause)) {
    for (const auto& [id, other] : below.children) {
      rule(!(other.live && !other.ready && in_sequence(other.cause)),
           "started before the one before it was ready", child.path);
    }
  }
  if (child.spec) {
    for (const Dependency& dependency : child.spec->depends_on) {
      const auto found = below.children.find(dependency.id);
      rule(met(found == below.children.end() ? nullptr : &found->second, dependency.condition),
           "started without what it depends on", child.path);
    }
  }
  // A retry of a failed start is counted when it is made. (In a group the siblings stop first, so
  // that the moment cannot be seen from outside; with dependencies it may have to wait.) What had
  // come and gone counts from its end, but not before those behind it in a sequence have started.
  if (!in_groups && !below.graph && event.cause == StartCause::restart && child.failed_start) {
    count_restart(below, std::min(at, child.counts_from));
    rule(!below.must_give_up, "a retry more than the intensity allows", child.path);
  }
  if (!std::exchange(child.joined, true)) child.order = ++below.last_order;
  child.live = true;
  child.ready = child.stopping = child.completed = child.failed_start = false;
  child.cause = event.cause;
  child.run = event.run;
  if (child.spec && child.spec->supervisor) child.below = open(*child.spec->supervisor, child.path);
}

void Referee::stopping(Child& child, const ServiceStopping& event) {
  rule(!child.stopping, "asked to stop twice", child.path);
  child.stopping = true;
  if (child.below) child.below->ending = true;
  Below& below = *child.parent;
  if (event.cause == "command" || event.cause == "kill") return;
  if (event.cause != "sibling") below.ending = true;
  for (const auto& [id, other] : below.children) {
    if (!other.live || &other == &child) continue;
    if (below.graph) {
      rule(!depends(other, child.id), "stopped before one that depends on it", child.path);
    } else if (below.spec.strategy != RestartStrategy::simple_one_for_one) {
      rule(other.order < child.order, "stopped before one that had started after it", child.path);
    }
  }
}

void Referee::exited(Child& child, const ServiceExited& event, Instant at) {
  rule(event.was_ready == child.ready, "was_ready says what was not", child.path);
  rule(event.expected == child.stopping, "expected says what was not", child.path);
  rule(!child.below || child.below->ended, "a supervisor's run ended before it had", child.path);
  child.live = child.ready = false;
  child.below.reset();
  const bool was_over = over_.erase(event.run) > 0;
  child.failed_start = !event.was_ready && !event.expected;
  child.counts_from = was_over ? at : Instant::max();

  // Did its end call for a restart? Not in a sequence that is stopping it anyway: then some sibling
  // is being stopped, or this supervisor ends.
  Below& below = *child.parent;
  const bool sequence =
      std::any_of(below.children.begin(), below.children.end(),
                  [](const auto& c) { return c.second.live && c.second.stopping; });
  const bool comes_back = child.spec && !event.reason.permanent_failure &&
                          (child.spec->restart == Restart::permanent ||
                           (child.spec->restart == Restart::transient && !event.reason.is_clean()));
  if (event.was_ready && !event.expected && comes_back && !sequence && !below.ending) {
    count_restart(below, at);
  }
}

void Referee::count_restart(Below& below, Instant at) {
  if (below.probing) return;
  std::deque<Instant>& restarts = below.restarts;
  restarts.insert(std::upper_bound(restarts.begin(), restarts.end(), at), at);
  while (restarts.back() - restarts.front() > below.spec.period) restarts.pop_front();
  if (restarts.size() > below.spec.max_restarts) below.must_give_up = true;
}

// ---- States ----

void Referee::compare(const TreeSnapshot& tree, const SimulatedExecutor& executor) {
  std::size_t workers = 0;
  for (const TreeSnapshot& child : tree.children) compare(child, executor, workers);
  rule(workers == executor.running(), "something runs that no supervisor knows", "");
}

void Referee::compare(const TreeSnapshot& node, const SimulatedExecutor& executor,
                      std::size_t& workers) {
  const ChildSnapshot& child = node.child;
  const Child* known = child_at(child.path, false);
  if (child.type == ChildType::worker && child.active()) {
    ++workers;
    const auto run = executor.runs.find(child.run);
    rule(run != executor.runs.end() && run->second.path == child.path, "said to run, and does not",
         child.path);
    rule(run == executor.runs.end() || child.state != ServiceState::running || run->second.ready,
         "said to be ready, and is not", child.path);
  }
  const bool has_run =
      child.state == ServiceState::running || child.state == ServiceState::stopping;
  rule(!has_run || child.active(), "a state without a run", child.path);
  rule(child.active() == (known && known->live), "state and events disagree", child.path);
  rule(child.state != ServiceState::backing_off || child.run == RunId::none,
       "backing off while it runs", child.path);
  for (const TreeSnapshot& below : node.children) compare(below, executor, workers);
}

void Referee::at_rest(const TreeSnapshot& tree) {
  for (const TreeSnapshot& node : tree.children) {
    const ChildSnapshot& child = node.child;
    rule(child.state != ServiceState::stopping, "never stopped", child.path);
    rule(child.state != ServiceState::backing_off, "never tried again", child.path);
    if (child.state == ServiceState::starting && child.type == ChildType::worker) {
      rule(!child.waiting_for.empty(), "never started", child.path);
      for (const std::string& id : child.waiting_for) {
        // Only one that is down for good, or that has yet to complete, may be waited for.
        const auto other = std::find_if(tree.children.begin(), tree.children.end(),
                                        [&](const TreeSnapshot& n) { return n.child.id == id; });
        rule(other == tree.children.end() || other->child.state == ServiceState::stopped ||
                 other->child.state == ServiceState::failed ||
                 other->child.state == ServiceState::starting ||
                 other->child.restart == Restart::transient,
             "waits for what is there", child.path);
      }
    }
    at_rest(node);
  }
}

}  // namespace unirun::testing
