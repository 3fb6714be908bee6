#include "executors/process/worker_message.h"

#include <chrono>
#include <map>
#include <utility>

namespace unirun {
namespace {

// The members of an object that are texts.
std::map<std::string, std::string> texts_of(const nlohmann::json& message, const char* member) {
  std::map<std::string, std::string> texts;
  const auto found = message.find(member);
  if (found == message.end() || !found->is_object()) return texts;
  for (const auto& [key, value] : found->items()) {
    if (value.is_string()) texts.emplace(key, value.get<std::string>());
  }
  return texts;
}

nlohmann::json number_of(RunId run) { return std::to_string(static_cast<std::uint64_t>(run)); }

}  // namespace

nlohmann::json start_message(const Launch& launch, const std::string& control_socket,
                             std::optional<RunId> run) {
  const ServiceSpec& spec = *launch.service;
  nlohmann::json heartbeat;
  if (const auto* liveness = std::get_if<HeartbeatLiveness>(&spec.liveness)) {
    heartbeat = std::chrono::duration<double>(liveness->timeout).count();
  }
  nlohmann::json message{
      {"type", "start"},
      {"target", std::get<PythonTarget>(spec.target).target},
      {"path", launch.path},
      {"id", launch.id},
      {"instance", launch.instance ? nlohmann::json(*launch.instance) : nlohmann::json()},
      {"config", spec.config},
      {"arguments", spec.arguments},
      {"heartbeat", std::move(heartbeat)},
      {"log_level", spec.log_level},
      {"control_socket",
       control_socket.empty() ? nlohmann::json() : nlohmann::json(control_socket)},
  };
  if (launch.style == ServiceStyle::async) message["on_loop"] = true;
  if (run) message["run"] = number_of(*run);
  return message;
}

std::string text_of(const nlohmann::json& message, const char* member) {
  const auto found = message.find(member);
  return found != message.end() && found->is_string() ? found->get<std::string>() : std::string();
}

ServiceLog read_log(RunId run, const nlohmann::json& message) {
  const auto line = message.find("line");
  const bool has_line = line != message.end() && line->is_number_integer();
  return {run,
          text_of(message, "level"),
          text_of(message, "logger"),
          text_of(message, "message"),
          text_of(message, "file"),
          has_line ? line->get<std::int64_t>() : 0,
          texts_of(message, "extra")};
}

void read_metrics(const std::string& path, RunId run, const nlohmann::json& message,
                  ServiceMetrics& metrics) {
  const auto each = [&](const char* member, const auto& take) {
    const auto found = message.find(member);
    if (found == message.end() || !found->is_object()) return;
    for (const auto& [name, value] : found->items()) {
      if (value.is_number()) take(name, value.template get<double>());
    }
  };
  each("counters", [&](const std::string& name, double by) { metrics.count(path, name, by); });
  each("gauges",
       [&](const std::string& name, double value) { metrics.gauge(path, run, name, value); });
}

void read_exception(const nlohmann::json& message, EndCause& cause) {
  const auto exception = message.find("exception");
  if (exception == message.end() || !exception->is_object()) return;
  cause.exception = ExceptionText{text_of(*exception, "type"), text_of(*exception, "message"),
                                  text_of(*exception, "traceback")};
  const auto prepared = message.find("prepared");
  cause.never_ran = prepared != message.end() && *prepared == false;
  const auto peak = message.find("peak_rss");
  if (peak != message.end() && peak->is_number_unsigned()) cause.peak_rss = *peak;
}

}  // namespace unirun
