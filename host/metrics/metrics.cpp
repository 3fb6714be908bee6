#include "host/metrics/metrics.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <utility>

namespace unirun {
namespace {

const EventKinds observed_kinds = EventKinds(EventKind::service_starting) |
                                  EventKind::service_exited | EventKind::service_backing_off |
                                  EventKind::service_removed | EventKind::supervisor_gave_up |
                                  EventKind::warning;

void add_one(ReasonCounts& counts, std::string_view reason) {
  for (auto& [word, count] : counts) {
    if (word == reason) {
      ++count;
      return;
    }
  }
  counts.emplace_back(reason, 1);
}

// The entry of `path` and those of what is below it.
template <class Map>
void erase_with_descendants(Map& map, const std::string& path) {
  map.erase(path);
  const std::string below = path + '/';
  for (auto at = map.lower_bound(below); at != map.end() && at->first.rfind(below, 0) == 0;) {
    at = map.erase(at);
  }
}

}  // namespace

Metrics::Metrics(EventBus& bus) : bus_(bus) {
  subscription_ = bus.subscribe(
      observed_kinds, [this](const Event& event) { observe(event); }, "metrics");
}

// ---- What happens to services ----

void Metrics::observe(const Event& event) {
  if (const auto* start = std::get_if<ServiceStarting>(&event.payload)) {
    on_starting(event.path, *start);
  } else if (const auto* exit = std::get_if<ServiceExited>(&event.payload)) {
    History& history = histories_[event.path];
    history.last_reason = to_string(exit->reason.kind);
    add_one(history.exits, history.last_reason);
    const std::lock_guard lock(mutex_);  // Gauges tell of the run that has ended.
    const auto told = told_.find(event.path);
    if (told != told_.end() && told->second.run == exit->run) told->second.gauges.clear();
  } else if (const auto* wait = std::get_if<ServiceBackingOff>(&event.payload)) {
    histories_[event.path].last_reason = to_string(wait->reason.kind);
  } else if (std::holds_alternative<ServiceRemoved>(event.payload)) {
    forget(event.path);
  } else if (std::holds_alternative<SupervisorGaveUp>(event.payload)) {
    ++given_up_[event.path];
  } else if (std::holds_alternative<Warning>(event.payload)) {
    ++warnings_;
  }
}

// A first start leaves no trace: that a service runs is known from the tree.
void Metrics::on_starting(const std::string& path, const ServiceStarting& start) {
  const auto found = histories_.find(path);
  if (found == histories_.end()) return;
  History& history = found->second;
  ++history.starts;
  switch (start.cause) {
    case StartCause::restart: return add_one(history.restarts, history.last_reason);
    case StartCause::sibling:
    case StartCause::probe: return add_one(history.restarts, to_string(start.cause));
    case StartCause::initial:
    case StartCause::command: return;
  }
}

void Metrics::forget(const std::string& path) {
  erase_with_descendants(histories_, path);
  erase_with_descendants(given_up_, path);
  const std::lock_guard lock(mutex_);
  erase_with_descendants(told_, path);
}

// ---- What services tell ----

// Null: there is no room for one more of this name.
double* Metrics::slot(Told& told, std::map<std::string, double, std::less<>>& values,
                      std::string_view name) {
  if (const auto found = values.find(name); found != values.end()) return &found->second;
  if (name.empty() || name.size() > max_name_length ||
      told.counters.size() + told.gauges.size() >= max_names) {
    return nullptr;
  }
  return &values.emplace(name, 0.0).first->second;
}

void Metrics::count(std::string_view path, std::string_view name, double by) {
  const std::lock_guard lock(mutex_);
  auto found = told_.find(path);
  if (found == told_.end()) found = told_.emplace(path, Told{}).first;
  Told& told = found->second;
  double* value = std::isfinite(by) && by >= 0 ? slot(told, told.counters, name) : nullptr;
  if (value == nullptr) {
    ++told.refused;
  } else {
    *value += by;
  }
}

void Metrics::gauge(std::string_view path, RunId run, std::string_view name, double value) {
  const std::lock_guard lock(mutex_);
  auto found = told_.find(path);
  if (found == told_.end()) found = told_.emplace(path, Told{}).first;
  Told& told = found->second;
  if (std::exchange(told.run, run) != run) told.gauges.clear();
  double* kept = std::isnan(value) ? nullptr : slot(told, told.gauges, name);
  if (kept == nullptr) {
    ++told.refused;
  } else {
    *kept = value;
  }
}

std::optional<TaskCounts> Metrics::tasks(std::string_view path) const {
  const std::lock_guard lock(mutex_);
  const auto found = told_.find(path);
  if (found == told_.end() || found->second.counters.count("tasks_submitted") == 0) {
    return std::nullopt;
  }
  const auto value = [](const auto& values, std::string_view name) {
    const auto there = values.find(name);
    // A service may tell anything under these names; no whole number holds more than this.
    constexpr double most = 9e18;
    return there == values.end() ? std::uint64_t{0}
                                 : static_cast<std::uint64_t>(std::clamp(there->second, 0.0, most));
  };
  const Told& told = found->second;
  return TaskCounts{.submitted = value(told.counters, "tasks_submitted"),
                    .completed = value(told.counters, "tasks_completed"),
                    .failed = value(told.counters, "tasks_failed"),
                    .cancelled = value(told.counters, "tasks_cancelled"),
                    .queued = value(told.gauges, "tasks_queued"),
                    .running = value(told.gauges, "tasks_running")};
}

// ---- The sample ----

void Metrics::add_rows(const TreeSnapshot& node, Instant now, MetricsSample& sample) const {
  const ChildSnapshot& child = node.child;
  if (child.type == ChildType::supervisor) {
    SupervisorSample row;
    row.path = child.path;
    if (node.supervisor) {
      row.up = node.supervisor->started && !node.supervisor->stopping;
      row.max_restarts = node.supervisor->max_restarts;
      row.recent_restarts = node.supervisor->recent_restarts;
    }
    if (const auto found = given_up_.find(child.path); found != given_up_.end()) {
      row.given_up = found->second;
    }
    sample.supervisors.push_back(std::move(row));
    for (const TreeSnapshot& below : node.children) add_rows(below, now, sample);
    return;
  }
  ServiceSample row;
  row.path = child.path;
  row.state = child.state;
  row.in_state = now - child.since;
  if (child.retry_at) row.retry_in = std::max(*child.retry_at - now, Duration{});
  if (const auto found = histories_.find(child.path); found != histories_.end()) {
    row.starts = found->second.starts;
    row.exits = found->second.exits;
    row.restarts = found->second.restarts;
  } else {
    row.starts = child.active() ? 1 : 0;
  }
  sample.services.push_back(std::move(row));
}

void Metrics::keep_only(const std::vector<ServiceSample>& services) {
  std::unordered_set<std::string_view> known;
  for (const ServiceSample& service : services) known.insert(service.path);
  const auto is_gone = [&](const auto& entry) { return known.count(entry.first) == 0; };
  std::erase_if(histories_, is_gone);
  std::erase_if(told_, is_gone);
}

MetricsSample Metrics::sample(const TreeSnapshot& tree, Instant now) {
  MetricsSample sample;
  sample.events = bus_.last_sequence();
  sample.events_dropped = bus_.dropped();
  sample.warnings = warnings_;
  for (const TreeSnapshot& top : tree.children) add_rows(top, now, sample);

  const std::lock_guard lock(mutex_);
  keep_only(sample.services);
  for (ServiceSample& service : sample.services) {
    const auto found = told_.find(service.path);
    if (found == told_.end()) continue;
    const Told& told = found->second;
    service.counters.assign(told.counters.begin(), told.counters.end());
    service.gauges.assign(told.gauges.begin(), told.gauges.end());
    service.refused = told.refused;
  }
  return sample;
}

}  // namespace unirun
