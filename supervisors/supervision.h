// Supervision is the pure state machine of one supervisor: what happens goes in, with the time at
// which it happens, and Actions come out. It holds no clock, no timer and no executor, so that the
// very same code runs in production and under simulated time.
//
// What it promises is Erlang/OTP's supervisor (erlang/otp, supervisor.erl); what is added stands
// with each rule. Three rulings of ours on order, where OTP has one mailbox:
// - Under one_for_one and simple_one_for_one children are independent: each restarts, and obeys
//   commands, by itself, whatever the others do. Calls on a child that is being stopped wait until
//   it is down; nothing is ever started twice.
// - Under the group strategies a call that starts or removes waits its turn behind the sequence
//   that is running. A death does not wait: it counts at once and widens the sequence.
// - terminate_child and shut_down wait for nobody: they call a start off.
//
// Used on the loop thread only. Its owner (Supervisor) carries the actions out; Random and RunIds
// outlive it.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executors/executor.h"
#include "framework/random.h"
#include "supervisors/action.h"
#include "supervisors/child_spec.h"
#include "supervisors/child_table.h"
#include "supervisors/command.h"
#include "supervisors/restart_intensity.h"
#include "supervisors/run_ids.h"
#include "supervisors/snapshot.h"

namespace unirun {

class Supervision {
 public:
  // The children's specs are not copied: what is left of them here keeps `spec` alive.
  // REQUIRES: check(spec) finds no fault.
  Supervision(const std::shared_ptr<const SupervisorSpec>& spec, Random& random, RunIds& runs);

  // ---- What happens. `now` never goes back. ----
  [[nodiscard]] Actions start(Instant now);  // REQUIRES: once, and first.
  [[nodiscard]] Actions on_launched(RunId run, LaunchOutcome outcome, Instant now);
  // Its process has this number: for events and queries, nothing is decided by it.
  void on_process(RunId run, std::int64_t pid);

  [[nodiscard]] Actions on_ready(RunId run, Instant now);
  [[nodiscard]] Actions on_exited(RunId run, ExitReason reason, Instant now);
  // It has ended because it declined to run. REQUIRES: no on_ready() before.
  [[nodiscard]] Actions on_ignored(RunId run, Instant now);
  [[nodiscard]] Actions on_call(CallId call, const Command& command, Instant now);
  [[nodiscard]] Actions on_time(Instant now);

  // Stops the children in order and ends with `reason`. While that goes on nothing changes it.
  [[nodiscard]] Actions shut_down(ExitReason reason, Instant now);

  // Kills everything at once; ends as `killed`, or as it was already going to end.
  [[nodiscard]] Actions kill_all(Instant now);

  // on_time() is due then. Instant::max(): never.
  [[nodiscard]] Instant next_deadline() const;

  // ---- What is ----
  [[nodiscard]] std::vector<ChildSnapshot> children() const;  // In start order.
  [[nodiscard]] Result<ChildSnapshot> child(const ChildRef& ref) const;
  [[nodiscard]] Result<ChildSpec> childspec(const ChildRef& ref) const;
  [[nodiscard]] ChildCounts counts() const;
  [[nodiscard]] SupervisorSnapshot snapshot(Instant now) const;
  [[nodiscard]] bool ended() const { return stage_ == Stage::ended; }

 private:
  using Child = detail::Child;
  using Phase = detail::Phase;
  using Attempt = detail::Attempt;
  using AfterStop = detail::AfterStop;
  using Awaits = detail::Awaits;

  enum class Stage : std::uint8_t { unborn, starting, up, ending, ended };

  // A group restart in the making: stop, wait, start. Under probing the wait is the interval.
  struct Group {
    std::string origin;                // The child whose failure it is.
    Duration delay{};                  // Between the last stop and the first start.
    std::optional<Instant> start_due;  // Set when all have stopped.
  };

  // What a spec says of the supervisor itself.
  [[nodiscard]] static SupervisorSpec flags_of(const SupervisorSpec& spec);

  // -- supervision.cpp: ends and restarts --
  Actions finish();
  void end_of_run(Child& child, ExitReason raw);
  [[nodiscard]] ExitReason judged_by_us(const Child& child, ExitReason reason) const;
  void judge_end(Child& child, Phase phase, const ExitReason& reason);
  void judge(Child& child, const ExitReason& reason);
  void restart_after_crash(Child& child, const ExitReason& reason);
  void judge_failed_start(Child& child, const ExitReason& reason);
  void try_again(Child& child, const ExitReason& reason);
  void restart(Child& child, Duration delay, const ExitReason& reason);
  void retire(Child& child, const ExitReason& reason);
  void fail_for_good(Child& child, const ExitReason& reason);
  void declined(Child& child);
  void significant_ended(const std::string& id);
  void exhausted(Child& child, const ExitReason& reason);
  void probe_later(Child& child, const ExitReason& reason);
  void probe_next();
  [[nodiscard]] Child* take_exhausted();
  void recovered(Child& child);
  void forget_probe(const Child& child);
  void end_probing();
  [[nodiscard]] Duration count_failure(Child& child);
  void on_deadline(Child& child);
  void retry_is_due(Child& child);
  void begin_end(ExitReason reason, std::string cause);

  // -- supervision_sequences.cpp: who starts and stops after whom --
  void start_when_possible(Child& child, StartCause cause, Attempt attempt);
  void launch(Child& child);
  void became_ready(Child& child);
  void came_up(Child& child);
  void settle(Child& child);
  void start_next_in_list();
  void start_all_possible();
  void wake_dependents(const Child& child);
  void begin_group(Child& origin, Duration delay);
  void group_stopped();
  void start_group();
  void begin_stop(Child& child, const std::string& cause);
  void begin_kill(Child& child);
  void stopped(Child& child);
  void after_stop(Child& child);
  void leave(const std::vector<Child*>& children);
  void release(std::vector<Child*> free);
  [[nodiscard]] std::vector<Child*> affected_by(Child& origin);
  [[nodiscard]] std::vector<Child*> with_dependents(Child& origin);
  template <class Function>
  void for_each_predecessor(const Child& child, Function function);
  [[nodiscard]] static bool dependency_met(const Child& dependency, DependencyCondition condition);
  [[nodiscard]] static bool dependencies_met(const Child& child);
  [[nodiscard]] static bool is_up(Phase phase);
  [[nodiscard]] bool leaves_nothing(const Child& child) const;
  [[nodiscard]] bool dynamic() const;
  [[nodiscard]] bool in_groups() const;
  [[nodiscard]] bool in_list_order() const;
  [[nodiscard]] bool held() const { return group_.has_value(); }
  void enter(Child& child, Phase phase);
  void remove(Child& child);
  void clear_run(Child& child);

  // -- supervision_calls.cpp: commands and questions --
  void carry_out(CallId call, const Command& command);
  void carry_out(CallId call, const command::StartChild& command);
  void carry_out(CallId call, const command::StartDynamicChild& command);
  void carry_out(CallId call, const command::TerminateChild& command);
  void carry_out(CallId call, const command::RestartChild& command);
  void carry_out(CallId call, const command::DeleteChild& command);
  void carry_out(CallId call, const command::Restart& command);
  void carry_out(CallId call, const command::Kill& command);
  void carry_out(CallId call, const command::CodeChange& command);
  void terminate(CallId call, Child& child);
  void call_off_start(Child& child);
  void change_children(const std::shared_ptr<const SupervisorSpec>& spec);
  void replace_spec(Child& child, std::shared_ptr<const ChildSpec> spec);
  [[nodiscard]] bool defer_until_down(CallId call, Child& child, const Command& command);
  [[nodiscard]] Result<Child*> find(const ChildRef& ref) const;
  [[nodiscard]] Result<Child*> find_dynamic(const ChildRef& ref, bool& is_gone) const;
  [[nodiscard]] std::optional<Error> refuse_unless_down(const Child& child) const;
  [[nodiscard]] std::optional<Error> refuse_if_dynamic(std::string_view call) const;
  [[nodiscard]] std::optional<Error> refuse_change(const SupervisorSpec& spec) const;
  [[nodiscard]] bool must_wait(const Command& command) const;
  [[nodiscard]] bool busy() const;
  void serve_waiting_calls();
  void refuse_waiting_calls();
  void answer(Child& child, Awaits what, const Result<ChildSnapshot>& outcome);
  void answer(const std::vector<CallId>& callers, const Result<ChildSnapshot>& outcome);
  void reply(CallId call, Result<ChildSnapshot> outcome);
  [[nodiscard]] ServiceState state_of(const Child& child) const;
  [[nodiscard]] std::vector<std::string> waiting_for(const Child& child) const;
  [[nodiscard]] ChildSnapshot describe(const Child& child) const;
  void publish(const Child& child, EventPayload payload);
  void publish(EventPayload payload);

  SupervisorSpec flags_;  // Without its children: they stand in the table, and change there.
  std::shared_ptr<const ChildSpec> template_;  // Of a dynamic supervisor; else null.
  Random& random_;
  RunIds& runs_;
  RestartIntensity intensity_;
  detail::ChildTable children_;
  bool graph_ = false;  // Some child depends on another: the order is theirs and not the list's.

  Instant now_{};
  Actions actions_;  // Of the input that is being dealt with.
  Stage stage_ = Stage::unborn;
  bool ended_by_itself_ = false;  // By auto_shutdown, which counts as having been started.
  bool said_started_ = false;
  bool killing_all_ = false;  // Nobody is asked any more.
  ExitReason end_reason_;
  std::string end_cause_;

  std::size_t unsettled_ = 0;    // Children whose initial start has not come to an end.
  std::size_t in_motion_ = 0;    // Children that are starting or stopping.
  std::size_t leaving_ = 0;      // Children in a stop sequence that are not gone yet.
  std::size_t significant_ = 0;  // Significant children that are up, or are to come back.
  std::map<Child::Order, Child*> waiting_;
  Child* starting_in_list_ = nullptr;  // In list order one child at a time is being started.
  std::optional<Group> group_;

  bool probing_ = false;
  Child* probed_ = nullptr;  // The one that is being tried.
  Instant probe_due_ = Instant::max();
  std::deque<std::string> exhausted_;  // Who waits for a probe, by id.

  std::deque<std::pair<CallId, Command>> waiting_calls_;
  std::uint64_t dynamic_children_ = 0;  // Ever started; numbers their ids.
};

}  // namespace unirun
