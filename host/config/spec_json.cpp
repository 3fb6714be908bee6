#include "host/config/spec_json.h"

#include <fmt/format.h>
#include <string.h>  // sigabbrev_np

#include <string>

#include "framework/size.h"

namespace unirun {
namespace {

using nlohmann::json;

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

json word(std::string_view text) { return std::string(text); }

json target_to_json(const ServiceTarget& target) {
  return std::visit(
      Overloaded{
          [](const CommandTarget& command) {
            return json{{"command", command.argv}};
          },
          [](const PythonTarget& python) {
            return json{{"python", python.target}, {"interpreter", python.interpreter}};
          },
          [](const NativeTarget& native) {
            return json{{"native", native.name}};
          },
      },
      target);
}

json http_to_json(const HttpCheck& check, Duration interval, Duration timeout) {
  const json status = check.status_from == check.status_to
                          ? json(check.status_from)
                          : json(fmt::format("{}-{}", check.status_from, check.status_to));
  return {{"kind", "http"},
          {"address", check.address},
          {"port", check.port},
          {"path", check.path},
          {"status", status},
          {"headers", json(check.headers)},
          {"interval", format_duration(interval)},
          {"timeout", format_duration(timeout)}};
}

json readiness_to_json(const Readiness& readiness) {
  return std::visit(Overloaded{
                        [](const NoReadiness&) {
                          return json{{"kind", "none"}};
                        },
                        [](const NotifyReadiness&) {
                          return json{{"kind", "notify"}};
                        },
                        [](const DescriptorReadiness& fd) {
                          return json{{"kind", "fd"}, {"fd", fd.descriptor}};
                        },
                        [](const TcpReadiness& tcp) {
                          return json{{"kind", "tcp"},
                                      {"address", tcp.address},
                                      {"port", tcp.port},
                                      {"interval", format_duration(tcp.interval)}};
                        },
                        [](const HttpReadiness& http) {
                          return http_to_json(http.check, http.interval, http.timeout);
                        },
                        [](const ExecReadiness& exec) {
                          return json{{"kind", "exec"},
                                      {"command", exec.argv},
                                      {"interval", format_duration(exec.interval)},
                                      {"timeout", format_duration(exec.timeout)}};
                        },
                        [](const LogReadiness& log) {
                          return json{{"kind", "log"}, {"pattern", log.pattern}};
                        },
                    },
                    readiness);
}

json liveness_to_json(const Liveness& liveness) {
  return std::visit(
      Overloaded{
          [](const NoLiveness&) {
            return json{{"kind", "none"}};
          },
          [](const HeartbeatLiveness& heartbeat) {
            return json{{"kind", "heartbeat"}, {"timeout", format_duration(heartbeat.timeout)}};
          },
          [](const TcpLiveness& tcp) {
            return json{{"kind", "tcp"},
                        {"address", tcp.address},
                        {"port", tcp.port},
                        {"interval", format_duration(tcp.interval)},
                        {"timeout", format_duration(tcp.timeout)},
                        {"max_failures", tcp.max_failures}};
          },
          [](const HttpLiveness& http) {
            json written = http_to_json(http.check, http.interval, http.timeout);
            written["max_failures"] = http.max_failures;
            return written;
          },
          [](const ExecLiveness& exec) {
            return json{{"kind", "exec"},
                        {"command", exec.argv},
                        {"interval", format_duration(exec.interval)},
                        {"timeout", format_duration(exec.timeout)},
                        {"max_failures", exec.max_failures}};
          },
          [](const LoopLagLiveness& lag) {
            return json{{"kind", "loop_lag"}, {"timeout", format_duration(lag.timeout)}};
          },
      },
      liveness);
}

json limit_to_json(const ResourceLimit& limit) {
  const auto value = [](const std::optional<std::uint64_t>& bound) {
    return bound ? json(*bound) : json("unlimited");
  };
  if (limit.soft == limit.hard) return value(limit.soft);
  return {{"soft", value(limit.soft)}, {"hard", value(limit.hard)}};
}

json signal_to_json(int number) {
  const char* abbreviation = sigabbrev_np(number);
  return abbreviation != nullptr ? json(std::string("SIG") + abbreviation) : json(number);
}

json output_to_json(const OutputSpec& output) {
  json result = {{"capture", output.capture},
                 {"ring", format_size(output.ring_bytes)},
                 {"max_file_size", format_size(output.max_file_bytes)},
                 {"max_files", output.max_files}};
  if (!output.file.empty()) result["file"] = output.file;
  return result;
}

json service_to_json(const ServiceSpec& service) {
  json result = target_to_json(service.target);
  result["arguments"] = service.arguments;
  result["config"] = service.config;
  json env = json::object();
  for (const auto& [name, value] : service.env) {
    env[name] = service.secret_env.count(name) != 0 ? "***" : value;
  }
  result["env"] = std::move(env);
  result["clear_env"] = service.clear_env;
  if (!service.cwd.empty()) result["cwd"] = service.cwd;
  if (!service.user.empty()) result["user"] = service.user;
  if (!service.group.empty()) result["group"] = service.group;
  result["groups"] = service.groups;
  if (service.umask) result["umask"] = fmt::format("{:03o}", *service.umask);
  json limits = json::object();
  for (const auto& [name, limit] : service.rlimits) limits[name] = limit_to_json(limit);
  result["rlimits"] = std::move(limits);
  if (service.nice) result["nice"] = *service.nice;
  result["no_new_privs"] = service.no_new_privs;
  result["readiness"] = readiness_to_json(service.readiness);
  result["liveness"] = liveness_to_json(service.liveness);
  result["output"] = output_to_json(service.output);
  result["log_level"] = service.log_level;
  result["stop_signal"] = signal_to_json(service.stop_signal);
  result["success_exit_codes"] = service.success_exit_codes;
  result["no_restart_exit_codes"] = service.no_restart_exit_codes;
  if (std::holds_alternative<PythonTarget>(service.target)) {
    result["start"] = service.start == StartMode::fresh ? "fresh" : "template";
    if (service.preload) result["preload"] = *service.preload;
    result["standby"] = service.standby;
    result["standby_after"] = service.standby_after == StandbyAfter::death ? "death" : "reaped";
  }
  return result;
}

json backoff_to_json(const Backoff::Limits& backoff) {
  return {{"kind", word(to_string(backoff.kind))},
          {"initial", format_duration(backoff.initial)},
          {"max", format_duration(backoff.max)},
          {"factor", backoff.factor},
          {"jitter", backoff.jitter},
          {"stable_after", format_duration(backoff.stable_after)}};
}

}  // namespace

json spec_to_json(const Shutdown& shutdown) {
  return std::visit(Overloaded{
                        [](BrutalKill) { return json("brutal_kill"); },
                        [](Infinity) { return json("infinity"); },
                        [](Duration timeout) { return json(format_duration(timeout)); },
                    },
                    shutdown);
}

json spec_to_json(const SupervisorSpec& supervisor) {
  json children = json::array();
  for (const ChildSpec& child : supervisor.children) children.push_back(spec_to_json(child));
  return {
      {"strategy", word(to_string(supervisor.strategy))},
      {"restart_intensity",
       {{"max_restarts", supervisor.max_restarts}, {"period", format_duration(supervisor.period)}}},
      {"auto_shutdown", word(to_string(supervisor.auto_shutdown))},
      {"on_exhausted", word(to_string(supervisor.on_exhausted))},
      {"probe_interval", format_duration(supervisor.probe_interval)},
      {"children", std::move(children)}};
}

// The keys of the configuration, so that what is read here can be written there.
json spec_to_json(const ChildSpec& child) {
  json result = child.supervisor ? spec_to_json(*child.supervisor)
                : child.service  ? service_to_json(*child.service)
                                 : json::object();
  result["id"] = child.id;
  result["restart"] = word(to_string(child.restart));
  result["shutdown"] = spec_to_json(child.effective_shutdown());
  result["significant"] = child.significant;
  result["backoff"] = backoff_to_json(child.backoff);
  json dependencies = json::array();
  for (const Dependency& dependency : child.depends_on) {
    dependencies.push_back(
        {{"id", dependency.id}, {"condition", word(to_string(dependency.condition))}});
  }
  result["depends_on"] = std::move(dependencies);
  if (child.service) {
    result["executor"] = child.executor;
    result["allow_overlap"] = child.allow_overlap;
    result["start_timeout"] = format_duration(child.start_timeout);
  }
  return result;
}

}  // namespace unirun
