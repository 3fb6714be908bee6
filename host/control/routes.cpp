#include "host/control/routes.h"

#include <utility>

namespace unirun {
namespace {

// "/v1/services/{path}/stop" as its segments; patterns are ours, so nothing can be wrong with them.
std::vector<std::string> segments_of(std::string_view pattern) {
  return parse_target(pattern)->segments;
}

// Fills `arguments` with what the placeholders took.
bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& segments,
             nlohmann::json& arguments) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == "{path}") {
      // What the rest of the pattern does not need.
      const std::size_t behind = pattern.size() - i - 1;
      if (segments.size() < at + behind) return false;
      std::string path;
      for (; at < segments.size() - behind; ++at) {
        path += (path.empty() ? "" : "/") + segments[at];
      }
      if (path.empty() && pattern[i - 1] != "supervisors") return false;
      arguments["path"] = std::move(path);
    } else if (at >= segments.size()) {
      return false;
    } else if (pattern[i] == "{id}") {
      arguments["id"] = segments[at++];
    } else if (pattern[i] != segments[at++]) {
      return false;
    }
  }
  return at == segments.size();
}

}  // namespace

const std::vector<Route>& routes() {
  static const std::vector<Route> all = {
      {"GET", "/v1/version", "version"},
      {"GET", "/v1/status", "status"},
      {"GET", "/v1/tree", "tree"},
      {"GET", "/v1/events", "events", true},
      {"GET", "/metrics", "metrics"},  // Where everyone looks for it.
      {"GET", "/v1/services/{path}", "service"},
      {"GET", "/v1/logs/{path}", "logs", true},
      {"GET", "/v1/why/{path}", "why"},
      {"POST", "/v1/services/{path}/start", "start"},
      {"POST", "/v1/services/{path}/stop", "stop"},
      {"POST", "/v1/services/{path}/restart", "restart"},
      {"POST", "/v1/services/{path}/kill", "kill"},
      {"POST", "/v1/services/{path}/scale", "scale"},
      {"GET", "/v1/supervisors/{path}/which_children", "which_children"},
      {"GET", "/v1/supervisors/{path}/count_children", "count_children"},
      {"GET", "/v1/supervisors/{path}/get_childspec/{id}", "get_childspec"},
      {"POST", "/v1/supervisors/{path}/start_child", "start_child"},
      {"POST", "/v1/supervisors/{path}/terminate_child", "terminate_child"},
      {"POST", "/v1/supervisors/{path}/restart_child", "restart_child"},
      {"POST", "/v1/supervisors/{path}/delete_child", "delete_child"},
      {"POST", "/v1/shutdown", "shutdown"},
  };
  return all;
}

Result<RoutedRequest> route(const HttpMessage& message) {
  Result<HttpTarget> target = parse_target(message.target);
  if (!target) return target.error();
  RoutedRequest routed;
  std::string other_methods;
  for (const Route& candidate : routes()) {
    nlohmann::json arguments = nlohmann::json::object();
    if (!matches(segments_of(candidate.pattern), target->segments, arguments)) continue;
    if (candidate.method != message.method) {
      other_methods += (other_methods.empty() ? "" : ", ") + std::string(candidate.method);
      continue;
    }
    routed.route = &candidate;
    routed.request = {std::string(candidate.request), std::move(arguments)};
    break;
  }
  if (!routed.route && !other_methods.empty()) {
    return Error{Errc::unsupported,
                 message.target + " takes " + other_methods + ", not " + message.method};
  }
  if (!routed.route) {
    return Error{Errc::not_found,
                 "there is no " + message.target + " here; docs/openapi.json lists what there is"};
  }

  nlohmann::json& arguments = routed.request.arguments;
  for (const auto& [name, value] : target->query) arguments.emplace(name, value);
  if (message.method == "POST" && !message.body.empty()) {
    nlohmann::json body = nlohmann::json::parse(message.body, nullptr, false);
    if (!body.is_object()) {
      return Error{Errc::invalid_argument, "the body of " + message.target +
                                               " must be a JSON object" +
                                               (body.is_discarded() ? "; it is no JSON" : "")};
    }
    for (auto& [name, value] : body.items()) arguments.emplace(name, std::move(value));
  }
  const auto accept = message.headers.find("accept");
  const auto follow = target->query.find("follow");
  const bool wants_stream =
      (accept != message.headers.end() &&
       accept->second.find("text/event-stream") != std::string::npos) ||
      (follow != target->query.end() && follow->second != "0" && follow->second != "false");
  routed.stream = routed.route->can_stream && wants_stream;
  const auto last_seen = message.headers.find("last-event-id");
  if (routed.stream && last_seen != message.headers.end()) arguments["since"] = last_seen->second;
  return routed;
}

int http_status_of(Errc code) {
  switch (code) {
    case Errc::not_found: return 404;
    case Errc::already_started:
    case Errc::already_present:
    case Errc::running:
    case Errc::restarting:
    case Errc::simple_one_for_one:
    case Errc::duplicate_id: return 409;
    case Errc::invalid_argument:
    case Errc::invalid_child_spec:
    case Errc::invalid_supervisor_spec:
    case Errc::invalid_configuration: return 400;
    case Errc::permission_denied: return 403;
    case Errc::unsupported: return 405;
    case Errc::shutting_down:
    case Errc::unreachable_host:
    case Errc::cancelled: return 503;
    case Errc::timeout: return 504;
    case Errc::start_failed: return 502;  // What stands behind us failed.
    case Errc::system:
    case Errc::io: return 500;
  }
  unreachable();
}

}  // namespace unirun
