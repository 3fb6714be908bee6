// DeathRecord is all that is known of one death: what `unirun why` tells. Made on the loop by
// Forensics from the events around it, kept in the journal.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/exit_reason.h"
#include "framework/run_id.h"
#include "framework/time.h"

namespace unirun {

struct DeathRecord {
  std::uint64_t sequence = 0;  // Of its service_exited event; names the record.
  WallTime at{};
  std::string path;
  RunId run{};
  std::int64_t pid = 0;
  Duration uptime{};
  bool was_ready = false;
  ExitReason reason;
  std::vector<std::string> last_lines;  // Of its output, oldest first.

  std::string rule;            // "permanent under rest_for_one: restarted after any exit"
  std::string decision;        // "restarted", "given up", "failed for good", "completed", ...
  Duration delay{};            // Chosen before the restart.
  std::uint64_t restarts = 0;  // Of this service by then, in this life of the host.
  std::vector<std::string> also_stopped;  // Siblings that fell with it.
};

[[nodiscard]] nlohmann::json to_json(const DeathRecord& record);

}  // namespace unirun
