// Referee watches a supervision tree from outside and knows the rules. It keeps its own small model
// of every child from the events alone, and holds each event against it: what may be started, what
// may be stopped, and how often. It knows nothing of how supervision works.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "framework/event.h"
#include "supervisors/child_spec.h"
#include "supervisors/snapshot.h"
#include "tests/supervisors/simulated_executor.h"

namespace unirun::testing {

class Referee {
 public:
  explicit Referee(SupervisorSpec root);

  void on_event(const Event& event);

  // Everything of the root is to stop from now on.
  void on_stop();

  // This run is gone by the time that its launch is answered: its end is a crash and no failed
  // start, which nothing in the events shows.
  void on_over(RunId run) { over_.insert(run); }

  // The child at this path, which is about to start, was added with this spec.
  void on_spec(std::string_view path, const ChildSpec& spec);

  // Does what supervision says of itself agree with what really runs?
  void compare(const TreeSnapshot& tree, const SimulatedExecutor& executor);

  // With every service healthy and time gone by, nothing may be left half-way.
  void at_rest(const TreeSnapshot& tree);

  // Empty as long as every rule was kept; else the first breach.
  [[nodiscard]] const std::string& breach() const { return breach_; }

 private:
  struct Below;

  struct Child {
    std::string id;
    std::string path;
    Below* parent = nullptr;
    std::shared_ptr<const ChildSpec> spec;  // Null: unknown.
    std::uint64_t order = 0;
    bool joined = false;  // An added one gets its place when it starts: the call may have waited.
    bool live = false;
    bool ready = false;
    bool stopping = false;
    bool completed = false;
    bool failed_start = false;  // The last start came to nothing.
    Instant counts_from = Instant::max();
    StartCause cause = StartCause::initial;
    RunId run{};
    std::unique_ptr<Below> below;  // Of a supervisor that runs.
  };

  // What a supervisor's children are, while it runs.
  struct Below {
    SupervisorSpec spec;
    std::string path;
    bool graph = false;
    bool ending = false;
    bool ended = false;
    bool gave_up = false;
    bool probing = false;
    bool must_give_up = false;
    std::uint64_t last_order = 0;
    std::map<std::string, Child, std::less<>> children;
    std::deque<Instant> restarts;
  };

  void rule(bool kept, std::string_view what, std::string_view path);
  [[nodiscard]] static std::unique_ptr<Below> open(const SupervisorSpec& spec, std::string path);
  [[nodiscard]] Below* supervisor_at(std::string_view path);
  Child* child_at(std::string_view path, bool add);
  void add(Below& below, const std::string& id, std::shared_ptr<const ChildSpec> spec);
  void starting(Child& child, const ServiceStarting& event, Instant at);
  void stopping(Child& child, const ServiceStopping& event);
  void exited(Child& child, const ServiceExited& event, Instant at);
  void count_restart(Below& below, Instant at);
  [[nodiscard]] static bool met(const Child* dependency, DependencyCondition condition);
  [[nodiscard]] static bool depends(const Child& child, const std::string& id);
  void compare(const TreeSnapshot& node, const SimulatedExecutor& executor, std::size_t& workers);

  std::unique_ptr<Below> root_;
  std::unordered_set<RunId> runs_;  // Every one that there ever was.
  std::unordered_set<RunId> over_;  // Whose end is yet to be told.
  std::string breach_;
};

}  // namespace unirun::testing
