// ControlClient speaks to a running host over its unix socket: HTTP with JSON, and server-sent
// events for what goes on. docs/openapi.json lists the targets.
//
// Thread: any one at a time. Blocks. Each call is a connection of its own, so a host that was
// restarted in between is simply found again.

#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "framework/result.h"
#include "framework/time.h"

namespace unirun {

class ControlClient {
 public:
  explicit ControlClient(std::string socket_path);

  // `target` is path and query: "/v1/services/pipeline%2Fingest?x=1" or with plain slashes in the
  // path. Errors are the host's own (Errc::not_found, with the nearest names in the message), or
  // Errc::unreachable_host: no socket, nobody behind it, no right to it; the message says which
  // socket, and what to do.
  [[nodiscard]] Result<nlohmann::json> get(std::string_view target) const;
  [[nodiscard]] Result<nlohmann::json> post(std::string_view target,
                                            const nlohmann::json& body = nullptr) const;

  // Opens a stream of server-sent events and hands over each one's data until `on_event` returns
  // false or the host ends (both are ok). Waits without end between events.
  [[nodiscard]] Status stream(std::string_view target,
                              const std::function<bool(const nlohmann::json&)>& on_event) const;

  // How long get() and post() wait for an answer. Default: without end, since a stop may take as
  // long as the service's shutdown timeout.
  void set_timeout(Duration timeout) { timeout_ = timeout; }

  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }

 private:
  std::string socket_path_;
  Duration timeout_ = Duration::max();
};

// "a b/c" as "a%20b/c": for a child's path within a target.
[[nodiscard]] std::string encode_path(std::string_view path);

}  // namespace unirun
