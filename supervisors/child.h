// Child: all that one supervisor remembers of one child. Plain state: Supervision decides, and
// ChildTable keeps order and indices in step.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/event.h"
#include "framework/exit_reason.h"
#include "framework/run_id.h"
#include "framework/time.h"
#include "supervisors/child_spec.h"
#include "supervisors/command.h"

namespace unirun::detail {

// Where a child stands. Three of them hold a run: starting, running and stopping.
enum class Phase : std::uint8_t {
  stopped,
  waiting,  // Will be launched as soon as the order of starting allows.
  starting,
  running,
  stopping,
  backing_off,
  failed,
  completed,
};

// Why the present start was made: it says what a failure of that start means.
enum class Attempt : std::uint8_t {
  initial,    // The supervisor itself fails (item 8).
  added,      // By start_child: nothing is kept (item 41).
  by_hand,    // By restart_child: the spec is kept, no retry (item 44).
  automatic,  // Tried again (item 22).
};

// What follows when the present stop is over.
enum class AfterStop : std::uint8_t {
  stay,    // Down, spec kept.
  remove,  // A temporary child leaves nothing.
  start,   // It was a restart by command.
  rejoin,  // It comes back with its group.
  fail,    // It did not go down: its thread is stuck, and nothing may run beside it.
};

// What a caller waits for.
enum class Awaits : std::uint8_t {
  start,  // The end of the present start, good or bad.
  stop,   // That it is down.
  kill,   // The end of the present run, and what that means.
};

struct Caller {
  CallId call{};
  Awaits what = Awaits::start;
};

struct Child;

// The edges of one child where the siblings' start is a graph.
struct Edges {
  std::vector<Child*> dependencies;  // In the order of spec->depends_on; null: it was removed.
  std::vector<Child*> dependents;
};

// There may be 100,000: what few need takes no room in the others.
struct Child {
  using Order = std::uint64_t;

  Order order = 0;  // Grows with every child that joins: the start order.
  std::string id;
  std::shared_ptr<const ChildSpec> spec;
  std::shared_ptr<const Arguments> arguments;  // Of a dynamic child that may have to come back.

  Phase phase = Phase::stopped;
  Attempt attempt = Attempt::automatic;
  StartCause cause = StartCause::initial;
  AfterStop after_stop = AfterStop::stay;
  bool unsettled = false;  // Its initial start has not come to an end yet.
  bool retry = false;      // Backing off after a failed start: the retry is yet to be counted.
  bool exhausted = false;  // Stands in the queue of those that wait for a probe.
  bool alive = false;      // `run` is; otherwise it is the last one.
  bool launched = false;   // The executor has answered for this run.
  bool over = false;  // Its answer was that the run has come and gone: the end is yet to be told.
  std::optional<ExitKind> verdict;  // We are killing it, and this is why.

  // In a stop sequence, and still to be gone; how many that must go before it are still there.
  bool leaving = false;
  std::uint32_t leaving_successors = 0;

  Instant since{};
  RunId run = RunId::none;  // The handle: of the present or last run.
  std::int64_t pid = 0;
  Instant launched_at{};
  std::optional<Instant> ready_at;  // Of the present or last run; nothing: it never was.

  Instant deadline = Instant::max();  // What for follows from the phase. max(): there is none.
  std::uint64_t deadline_serial = 0;  // Equal deadlines fall due in the order of their setting.

  std::uint64_t restarts = 0;
  std::uint64_t failures = 0;
  std::shared_ptr<const ExitReason> last_exit;

  std::vector<Caller> callers;
  std::vector<std::pair<CallId, Command>> deferred;  // Calls that wait until it is down.
  std::unique_ptr<Edges> edges;                      // Null: it has none.

  [[nodiscard]] bool has_run() const { return alive; }
  [[nodiscard]] bool has_deadline() const { return deadline != Instant::max(); }
  [[nodiscard]] bool temporary() const { return spec->restart == Restart::temporary; }

  void add_caller(CallId call, Awaits what) { callers.push_back({call, what}); }
  [[nodiscard]] bool has_caller(Awaits what) const;
  [[nodiscard]] std::vector<CallId> take_callers(Awaits what);  // In the order of their coming.

  [[nodiscard]] const std::vector<Child*>& dependencies() const;
  [[nodiscard]] const std::vector<Child*>& dependents() const;
};

}  // namespace unirun::detail
