// RunSummary counts what happens in one run of a host, service by service: what `unirun up` shows
// at the end. Its memory is that of the services, however long the run.
//
// Thread: one. Feed it every event.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "framework/event.h"
#include "framework/service_state.h"
#include "host/cli/text_style.h"

namespace unirun {

class RunSummary {
 public:
  void add(const Event& event);

  // A table: service, state, starts, restarts with their causes, last exit.
  [[nodiscard]] std::string render(const TextStyle& style) const;

  // {"summary": {"services": [{"path", "state", "starts", "restarts", "causes", "last_exit"}]}}
  [[nodiscard]] nlohmann::json to_json() const;

 private:
  using Causes = std::map<std::string, std::uint64_t>;

  // Of a service that has ended once or was restarted.
  struct Ends {
    Causes causes;  // Restarts by what the run before died of.
    std::string last_exit;
    std::string last_cause;
  };

  struct Service {
    ServiceState state = ServiceState::stopped;
    std::uint64_t starts = 0;
    std::uint64_t restarts = 0;
    std::unique_ptr<Ends> ends;  // Null: most services have nothing to tell of.

    [[nodiscard]] Ends& its_ends();
    [[nodiscard]] const Ends& known_ends() const;
  };

  [[nodiscard]] static std::string causes_text(const Causes& causes);

  std::map<std::string, Service> services_;
};

// The cause of a death in a word or two, the same for all of its kind: "exit code 3", "SIGSEGV",
// "ValueError", "liveness timeout".
[[nodiscard]] std::string cause_of(const ExitReason& reason);

}  // namespace unirun
