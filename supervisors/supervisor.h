// Supervisor is the shell around Supervision: it feeds it with what happens and carries out what it
// wants, with the SupervisionWorld it was given. It decides nothing.
//
// A nested supervisor is a child like any other: to launch it is to create a Supervisor and start
// it, its end is the exit of its run.
//
// Thread: the loop's. Owner: the tree, or the supervisor above, by shared_ptr: one that ends is let
// go of by its owner while it is still on the stack. SupervisionWorld and Outbox outlive it.

#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "executors/executor.h"
#include "supervisors/action.h"
#include "supervisors/outbox.h"
#include "supervisors/snapshot.h"
#include "supervisors/supervision.h"
#include "supervisors/supervision_world.h"

namespace unirun {

class Supervisor final : public RunObserver, public std::enable_shared_from_this<Supervisor> {
 public:
  using Reply = std::function<void(Result<ChildSnapshot>)>;

  // REQUIRES: check(spec) finds no fault.
  Supervisor(const SupervisionWorld& world, detail::Outbox& outbox, std::string path,
             const std::shared_ptr<const SupervisorSpec>& spec);
  ~Supervisor() override;
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // `on_started` is called at most once, `on_ended` exactly once and last; either may come before
  // start() has returned. Neither may call back.
  void start(std::function<void()> on_started, std::function<void(ExitReason)> on_ended);
  void call(Command command, Reply reply);
  void shut_down(ExitReason reason);
  void kill_all();

  void on_process(RunId run, std::int64_t pid) override;
  void on_ready(RunId run) override;
  void on_exited(RunId run, ExitReason reason) override;
  void on_ignored(RunId run) override;

  // ---- Questions ----
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Supervision& supervision() const { return supervision_; }
  [[nodiscard]] std::vector<ChildSnapshot> children() const;  // In start order.
  [[nodiscard]] Result<ChildSnapshot> child(const ChildRef& ref) const;
  [[nodiscard]] SupervisorSnapshot snapshot() const;

  // The supervisor that runs under this child; null if none does.
  [[nodiscard]] Supervisor* nested(RunId run) const;

 private:
  using Nested = std::shared_ptr<Supervisor>;

  // What a nested supervisor said while its launch was still going on.
  struct Launching {
    RunId run{};
    bool started = false;
    std::optional<ExitReason> ended;
  };

  void perform(Actions actions);
  void carry_out(action::Launch launch);
  void carry_out(const action::RequestStop& stop);
  void carry_out(const action::Kill& kill);
  void carry_out(action::Reply reply);
  void carry_out(action::Publish publish);
  void carry_out(const action::Started&);
  void carry_out(action::Ended ended);
  [[nodiscard]] LaunchOutcome launch_service(const action::Launch& launch);
  [[nodiscard]] LaunchOutcome launch_supervisor(const action::Launch& launch);
  void on_nested_started(RunId run);
  void on_nested_ended(RunId run, ExitReason reason);
  void arm_timer();
  void tell_owner();
  [[nodiscard]] std::string path_of(std::string_view id) const;

  const SupervisionWorld& world_;
  detail::Outbox& outbox_;
  std::string path_;
  Supervision supervision_;
  std::function<void()> on_started_;
  std::function<void(ExitReason)> on_ended_;

  std::deque<Action> to_do_;
  bool performing_ = false;
  bool started_ = false;                      // To be told to the owner,
  std::optional<ExitReason> ended_;           // and so is this.
  std::unordered_map<RunId, Nested> nested_;  // The runs that are supervisors.
  Launching* launching_ = nullptr;
  std::uint64_t last_call_ = 0;
  std::unordered_map<CallId, Reply> callers_;
  TimerId timer_ = TimerId::none;
  Instant timer_due_ = Instant::max();
};

}  // namespace unirun
