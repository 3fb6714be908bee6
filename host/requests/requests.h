// The requests that a host understands, one list for every door: the control socket, the native
// command line and Python. `path` is a child's place in the tree ("pipeline/ingest"); a child with
// `instances` answers under the name of the group as well ("pipeline/worker" means worker-1 ...).
//
//   request           arguments                        answer
//   version           -                                {"version", "api", "pid", "host"}
//   status            -                                {"host": {..}, "services": [service ..]}
//   tree              -                                {"host": {..}, "supervisors": [node ..]}
//   service           path                             service
//   start             path                             {"services": [service ..]}
//   stop              path                             the same, once they are down
//   restart           path                             the same, once they are up again
//   kill              path                             the same, once they are dead
//   scale             path, instances                  the same; `path` is a group's
//   start_child       path, child (a spec as in JSON)  a handle
//                     or arguments (a list)            (of a simple_one_for_one supervisor)
//   terminate_child   path, id (or run)                a handle
//   restart_child     path, id                         a handle
//   delete_child      path, id                         a handle
//   which_children    path                             {"children": [handle ..]}, newest first
//   count_children    path                             {"specs", "active", "workers", ..}
//   get_childspec     path, id                         the spec, every default filled in
//   events            limit, since, path, kinds        {"events": [event ..]}, oldest first
//   metrics           -                                {"text": Prometheus' text}
//   logs              path, tail                       {"lines": [{"time", "stream", "text"} ..]}
//   why               path                             {"path", "deaths": [record with "seen" ..],
//                                                      "causes": [..], "storm": {..} or null}
//   shutdown          now (a boolean)                  {}; the host ends
//
// A handle is {"id", "path", "pid", "run", "state", "type"}.
// A service is {"path", "id", "type", "restart", "state", "since" (s), "uptime" (s), "pid", "run",
// "restarts", "failures", "last_exit"} and, where there is something to say, "retry_in" (s),
// "waiting_for", "status" and "tasks" (of its pools); a node is the same with "strategy",
// "max_restarts", "period", "recent_restarts", "probing" and "children" where it is a supervisor.
// docs/openapi.json tells more.

#pragma once

#include <string_view>
#include <vector>

namespace unirun {

// Changed when an answer loses or renames a member.
inline constexpr int control_api_version = 1;

struct RequestInfo {
  std::string_view name;
  bool changes = false;  // A command, not a query.
};
[[nodiscard]] const std::vector<RequestInfo>& requests();

}  // namespace unirun
