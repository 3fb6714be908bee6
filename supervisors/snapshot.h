// What a supervisor tells of its children: values, true at the moment of asking. Nothing here
// points into a supervisor, so a snapshot may be kept, sorted and sent anywhere.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/exit_reason.h"
#include "framework/run_id.h"
#include "framework/service_state.h"
#include "framework/time.h"
#include "supervisors/child_spec.h"

namespace unirun {

struct ChildSnapshot {
  std::string id;    // Of a dynamic child: its template's id and a number, "worker-3".
  std::string path;  // "pipeline/ingest": the supervisor's path and the id.
  ChildType type = ChildType::worker;
  std::string executor;  // "thread"; empty: a supervisor.
  Restart restart = Restart::permanent;
  bool significant = false;

  ServiceState state = ServiceState::stopped;
  Instant since{};                  // When it came into this state.
  RunId run = RunId::none;          // The handle of the present run; none while nothing runs.
  std::int64_t pid = 0;             // 0 where there is no process of its own.
  std::uint64_t restarts = 0;       // Automatic ones, ever; commands do not count.
  std::uint64_t failures = 0;       // In a row: what the backoff looks at.
  std::optional<Instant> retry_at;  // Backing off until then.
  std::shared_ptr<const ExitReason> last_exit;  // Null: it has not ended yet.
  std::vector<std::string> waiting_for;         // The ids that it cannot start without.

  // Does something run under it (OTP's count_children, `active`)?
  [[nodiscard]] bool active() const { return run != RunId::none; }
};

// OTP's count_children (item 46). Supervisors and workers count alive or not; of a dynamic
// supervisor `specs` is 1, its template.
struct ChildCounts {
  std::uint64_t specs = 0;
  std::uint64_t active = 0;
  std::uint64_t supervisors = 0;
  std::uint64_t workers = 0;

  friend bool operator==(const ChildCounts&, const ChildCounts&) = default;
};

struct SupervisorSnapshot {
  RestartStrategy strategy = RestartStrategy::one_for_one;
  std::uint64_t max_restarts = 0;
  Duration period{};
  std::uint64_t recent_restarts = 0;  // Within the present window.
  bool started = false;               // Every child of its initial start has been ready.
  bool stopping = false;
  bool probing = false;  // Gave up on fast restarts, tries one child per probe interval.
};

// A child and, under a supervisor, its children in start order. The root of a tree has an empty
// id and path.
struct TreeSnapshot {
  ChildSnapshot child;
  std::optional<SupervisorSnapshot> supervisor;  // Nothing: a worker, or a supervisor that is down.
  std::vector<TreeSnapshot> children;
};

}  // namespace unirun
