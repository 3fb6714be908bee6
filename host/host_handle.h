// HostHandle is how another thread talks to a host: a request by name with JSON arguments, an
// answer as JSON. The control socket and the Python package use nothing else, so that a command
// means the same wherever it comes from. The requests are listed in host/requests/requests.h.
//
// Thread: any. Cheap to copy. May outlive the host: requests then answer Errc::unreachable_host.

#pragma once

#include <functional>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "framework/result.h"
#include "framework/time.h"

namespace unirun {

struct Request {
  std::string name;          // "start_child"
  nlohmann::json arguments;  // {"path": "pipeline", "child": {...}}
};

class HostHandle {
 public:
  // Called exactly once, on the loop thread, or on the caller's if the host has ended.
  using Reply = std::function<void(Result<nlohmann::json>)>;

  HostHandle() = default;  // Of no host.

  // Commands answer when they are done (a stop: when the service is gone), queries at once.
  void post(Request request, Reply reply) const;

  // The same, waiting for the answer at most `timeout`; the command goes on after a timeout.
  // REQUIRES: not the loop thread, which would wait for itself.
  [[nodiscard]] Result<nlohmann::json> call(Request request,
                                            Duration timeout = Duration::max()) const;

 private:
  friend class HostDoor;
  struct Gate;
  explicit HostHandle(std::shared_ptr<Gate> gate) : gate_(std::move(gate)) {}

  std::shared_ptr<Gate> gate_;
};

}  // namespace unirun
