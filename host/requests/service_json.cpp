#include "host/requests/service_json.h"

#include <chrono>
#include <utility>

namespace unirun {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// Null where there is nothing to tell.
template <class T>
nlohmann::json or_null(bool there, T value) {
  return there ? nlohmann::json(std::move(value)) : nlohmann::json();
}

}  // namespace

nlohmann::json service_json(const ChildSnapshot& child, const SelfReports& reports, Instant now) {
  const bool runs = child.state == ServiceState::running;
  nlohmann::json answer{{"path", child.path},
                        {"id", child.id},
                        {"type", to_string(child.type)},
                        {"executor", or_null(!child.executor.empty(), child.executor)},
                        {"restart", to_string(child.restart)},
                        {"state", to_string(child.state)},
                        {"since", seconds(now - child.since)},
                        {"uptime", or_null(runs, seconds(now - child.since))},
                        {"pid", or_null(child.pid != 0, child.pid)},
                        {"run", or_null(child.active(), static_cast<std::uint64_t>(child.run))},
                        {"restarts", child.restarts},
                        {"failures", child.failures},
                        {"last_exit", nullptr}};
  if (child.last_exit) {
    answer["last_exit"] = *child.last_exit;
    answer["last_exit"]["summary"] = child.last_exit->describe();
  }
  if (child.retry_at) answer["retry_in"] = seconds(std::max(*child.retry_at - now, Duration{}));
  if (!child.waiting_for.empty()) answer["waiting_for"] = child.waiting_for;
  if (const auto text = reports.texts.find(child.path); text != reports.texts.end()) {
    answer["status"] = text->second;
  }
  if (const auto tasks = reports.metrics.tasks(child.path)) {
    answer["tasks"] = {{"submitted", tasks->submitted}, {"completed", tasks->completed},
                       {"failed", tasks->failed},       {"cancelled", tasks->cancelled},
                       {"queued", tasks->queued},       {"running", tasks->running}};
  }
  return answer;
}

nlohmann::json node_json(const TreeSnapshot& node, const SelfReports& reports, Instant now) {
  nlohmann::json answer = service_json(node.child, reports, now);
  if (node.supervisor) {
    answer["strategy"] = to_string(node.supervisor->strategy);
    answer["max_restarts"] = node.supervisor->max_restarts;
    answer["period"] = seconds(node.supervisor->period);
    answer["recent_restarts"] = node.supervisor->recent_restarts;
    answer["probing"] = node.supervisor->probing;
  }
  if (node.child.type == ChildType::supervisor) {
    nlohmann::json children = nlohmann::json::array();
    for (const TreeSnapshot& child : node.children) {
      children.push_back(node_json(child, reports, now));
    }
    answer["children"] = std::move(children);
  }
  return answer;
}

nlohmann::json handle_json(const ChildSnapshot& child) {
  return {{"id", child.id},
          {"path", child.path},
          {"pid", or_null(child.pid != 0, child.pid)},
          {"run", or_null(child.active(), static_cast<std::uint64_t>(child.run))},
          {"state", to_string(child.state)},
          {"type", to_string(child.type)}};
}

}  // namespace unirun
