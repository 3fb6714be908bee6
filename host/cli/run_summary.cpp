#include "host/cli/run_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "host/cli/render_answers.h"
#include "host/cli/render_table.h"

namespace unirun {
namespace {

constexpr std::size_t most_causes = 32;  // Of one service; what comes later is "other".

}  // namespace

std::string cause_of(const ExitReason& reason) {
  if (reason.exception) return reason.exception->type;
  ExitReason plain = reason;
  plain.detail.clear();
  plain.core_dumped = false;
  plain.permanent_failure = false;
  return plain.describe();
}

RunSummary::Ends& RunSummary::Service::its_ends() {
  if (!ends) ends = std::make_unique<Ends>();
  return *ends;
}

const RunSummary::Ends& RunSummary::Service::known_ends() const {
  static const Ends none;
  return ends ? *ends : none;
}

void RunSummary::add(const Event& event) {
  switch (event.kind()) {
    case EventKind::service_starting: {
      Service& service = services_[event.path];
      service.state = ServiceState::starting;
      ++service.starts;
      const StartCause cause = std::get<ServiceStarting>(event.payload).cause;
      if (cause == StartCause::sibling) service.its_ends().last_cause = "a sibling's end";
      if (cause != StartCause::restart && cause != StartCause::sibling) break;
      ++service.restarts;
      auto& [causes, last_exit, last_cause] = service.its_ends();
      const bool is_full = causes.size() >= most_causes && causes.count(last_cause) == 0;
      ++causes[is_full ? "other" : last_cause];
      break;
    }
    case EventKind::service_started: services_[event.path].state = ServiceState::running; break;
    case EventKind::service_stopping: services_[event.path].state = ServiceState::stopping; break;
    case EventKind::service_exited: {
      const auto& exit = std::get<ServiceExited>(event.payload);
      Service& service = services_[event.path];
      service.state = ServiceState::stopped;
      service.its_ends().last_exit = exit.reason.describe();
      service.its_ends().last_cause = cause_of(exit.reason);
      break;
    }
    case EventKind::service_backing_off: {
      Service& service = services_[event.path];
      service.state = ServiceState::backing_off;
      service.its_ends().last_cause = cause_of(std::get<ServiceBackingOff>(event.payload).reason);
      break;
    }
    case EventKind::service_failed: {
      Service& service = services_[event.path];
      service.state = ServiceState::failed;
      service.its_ends().last_exit = std::get<ServiceFailed>(event.payload).reason.describe();
      break;
    }
    case EventKind::service_completed: services_[event.path].state = ServiceState::completed; break;
    case EventKind::service_removed: services_.erase(event.path); break;
    case EventKind::host_stopped:
      // Whoever waited for another start has none now, and no event of its own says so.
      for (auto& [path, service] : services_) {
        const bool is_over =
            service.state == ServiceState::failed || service.state == ServiceState::completed;
        if (!is_over) service.state = ServiceState::stopped;
      }
      break;
    default: break;
  }
}

// "3 (SIGSEGV 2, ValueError 1)", the most frequent first.
std::string RunSummary::causes_text(const Causes& causes) {
  std::vector<std::pair<std::string, std::uint64_t>> frequent(causes.begin(), causes.end());
  std::stable_sort(frequent.begin(), frequent.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (const auto& [cause, count] : frequent) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{} {}", cause, count);
  }
  return text.empty() ? "-" : text;
}

std::string RunSummary::render(const TextStyle& style) const {
  std::vector<TableRow> rows;
  for (const auto& [path, service] : services_) {
    const std::string state(to_string(service.state));
    const Ends& ends = service.known_ends();
    rows.push_back({{path},
                    {state, colour_of_state(state)},
                    {std::to_string(service.starts)},
                    {std::to_string(service.restarts)},
                    {causes_text(ends.causes)},
                    {ends.last_exit.empty() ? "-" : one_line(ends.last_exit)}});
  }
  return render_table({{"SERVICE", false, true},
                       {"STATE"},
                       {"STARTS", true},
                       {"RESTARTS", true},
                       {"CAUSES", false, true},
                       {"LAST EXIT", false, true}},
                      rows, style);
}

nlohmann::json RunSummary::to_json() const {
  nlohmann::json services = nlohmann::json::array();
  for (const auto& [path, service] : services_) {
    const Ends& ends = service.known_ends();
    services.push_back({{"path", path},
                        {"state", to_string(service.state)},
                        {"starts", service.starts},
                        {"restarts", service.restarts},
                        {"causes", ends.causes},
                        {"last_exit", ends.last_exit.empty() ? nlohmann::json()
                                                             : nlohmann::json(ends.last_exit)}});
  }
  return {{"summary", {{"services", std::move(services)}}}};
}

}  // namespace unirun
