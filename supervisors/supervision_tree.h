// SupervisionTree is a root supervisor with all that stands below it, and the door through which
// hosts, bindings and tests reach every supervisor by its path.
//
// Paths: "" is the root, "pipeline" a supervisor below it, "pipeline/ingest" a child of that one.
// A call names the supervisor's path and then the child, as OTP's own API does; split_path() takes
// "pipeline/ingest" apart for those who hold a child's path.
//
// Commands answer through a callback, exactly once: before the call returns where nothing has to be
// waited for, else later, from the loop. No supervisor is in the middle of something then, so the
// callback may call the tree again. Queries are answered at once, whatever is starting or stopping.
//
// Thread: the loop's. Owner: the door; everything in its SupervisionWorld outlives it. Destroying a
// tree whose children run lets go of them without a word: stop() first.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/exit_reason.h"
#include "framework/result.h"
#include "supervisors/child_spec.h"
#include "supervisors/command.h"
#include "supervisors/snapshot.h"
#include "supervisors/supervision_world.h"

namespace unirun {

class Supervisor;

// {"pipeline", "ingest"} of "pipeline/ingest"; {"", "pipeline"} of "pipeline".
[[nodiscard]] std::pair<std::string, std::string> split_path(std::string_view path);

class SupervisionTree {
 public:
  // The child as it is when the call has been carried out; of a removed one, as it last was.
  using Reply = std::function<void(Result<ChildSnapshot>)>;

  // `spec` is judged by start(), and not copied. REQUIRES: not null.
  SupervisionTree(const SupervisionWorld& world, std::shared_ptr<const SupervisorSpec> spec);
  ~SupervisionTree();
  SupervisionTree(const SupervisionTree&) = delete;
  SupervisionTree& operator=(const SupervisionTree&) = delete;

  // Starts every static child, in order. `on_started` is called once: fine when all are ready, an
  // error (start_failed) when one did not come up and all others have been stopped again.
  // `on_ended` is called once, last, when the root has ended and nothing runs: stopped, burnt
  // out, by auto_shutdown, or failed to start. An invalid spec is refused here, with every fault
  // in the message, and neither is called. REQUIRES: not started yet.
  Status start(std::function<void(Status)> on_started, std::function<void(ExitReason)> on_ended);

  // Stops everything in order. `reply` hears `timeout` when that takes longer than `timeout`; the
  // stopping goes on all the same (item 40). `reason` is what the root ends with.
  void stop(ExitReason reason = ExitReason::normal(), std::optional<Duration> timeout = {},
            std::function<void(Status)> reply = {});

  // Ends everything at once, without asking.
  void kill_all();

  // ---- Commands: supervision.md items 30, 33, 41 to 44 and 53 ----

  // already_started, already_present, invalid_child_spec, duplicate..., start_failed,
  // shutting_down. Of a dynamic supervisor use the second form: `arguments` are appended to the
  // template's.
  void start_child(std::string_view supervisor, ChildSpec child, Reply reply);
  void start_child(std::string_view supervisor, std::vector<nlohmann::json> arguments, Reply reply);

  // Ok even if it does not run; the spec stays unless the child is temporary.
  void terminate_child(std::string_view supervisor, const ChildRef& child, Reply reply);

  // Only what does not run: running, restarting, not_found.
  void restart_child(std::string_view supervisor, const ChildRef& child, Reply reply);
  void delete_child(std::string_view supervisor, const ChildRef& child, Reply reply);

  // Beyond OTP. Stops the child if it runs, then starts it: replies when it is ready again.
  // Costs no intensity, and ends a backoff early.
  void restart(std::string_view supervisor, const ChildRef& child, Reply reply);

  // Beyond OTP. Kills the present run; what follows is what follows any crash. Replies when that
  // run is dead and what its end means has been decided.
  void kill(std::string_view supervisor, const ChildRef& child, Reply reply);

  // OTP's code_change: flags and known specs are replaced, processes are kept, new children are
  // added and not started, missing ones are kept. All or nothing. (`changed` has no child.)
  void code_change(std::string_view supervisor, SupervisorSpec spec,
                   std::function<void(Status)> changed);

  // ---- Queries ----
  [[nodiscard]] Result<std::vector<ChildSnapshot>> which_children(
      std::string_view supervisor) const;  // Newest first.
  [[nodiscard]] Result<ChildSnapshot> which_child(std::string_view supervisor,
                                                  const ChildRef& child) const;
  [[nodiscard]] Result<ChildSpec> get_childspec(std::string_view supervisor,
                                                const ChildRef& child) const;
  [[nodiscard]] Result<ChildCounts> count_children(std::string_view supervisor) const;
  [[nodiscard]] Result<SupervisorSnapshot> snapshot_of(std::string_view supervisor) const;
  [[nodiscard]] TreeSnapshot snapshot() const;

  // The child at a whole path, "pipeline/ingest".
  [[nodiscard]] Result<ChildSnapshot> find(std::string_view path) const;

  // Has the root ended, or never started?
  [[nodiscard]] bool ended() const;

 private:
  struct Impl;

  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
