// ProcessRun is one life of one service as an OS process: from its spawn to the moment when its
// death is told. Around it stand its channels, its readiness and its liveness.
//
// A Python worker is forked from a template where one can be had: then start() returns before there
// is a process, and the owner hears of it. A standby is such a run without a service: it has done
// all that does not depend on when it begins, and waits for begin_as().
//
// Thread: the loop's. Owned by the executor, which destroys it after on_ended.

#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "executors/executor.h"
#include "executors/heartbeat_watch.h"
#include "executors/process/exit_mapping.h"
#include "executors/process/probe.h"
#include "executors/process/process_channels.h"
#include "executors/process/run_world.h"
#include "executors/process/service_probe.h"
#include "executors/process/worker_template.h"

namespace unirun {

class ProcessRun final : private ProcessChannels::Owner {
 public:
  // The run's word to its executor.
  struct Owner {
    virtual ~Owner() = default;
    // There is a process at last.
    virtual void on_process(ProcessRun& run) = 0;
    virtual void on_ready(ProcessRun& run) = 0;
    // A standby has done its imports, and waits.
    virtual void on_waiting(ProcessRun& run) = 0;
    // Whatever carries the mark of that number is nobody's.
    virtual void on_number_lost(ProcessRun& run, std::uint64_t number) = 0;
    // The process is dead, its group killed, its output read as far as it is there. It is reaped,
    // but for what take_remains() gives.
    virtual void on_ended(ProcessRun& run, ExitReason reason) = 0;
  };

  // What is left of a process whose death was told early: dead, and not reaped yet.
  struct Remains {
    pid_t pid = 0;
    UniqueFd pidfd;
    std::optional<std::size_t> place;  // On the board of deaths.
  };

  // All outlive the run. `observer` is null for a standby.
  ProcessRun(RunWorld& world, Owner& owner, RunObserver* observer, Launch launch);
  // Kills the group of a process that still lives.
  ~ProcessRun() override;
  ProcessRun(const ProcessRun&) = delete;
  ProcessRun& operator=(const ProcessRun&) = delete;

  // Call once. After `failed` the run is of no further use.
  [[nodiscard]] LaunchOutcome start();

  // And is to be reaped. REQUIRES: it has a process.
  [[nodiscard]] bool has_died() const;

  // Lets a standby go. REQUIRES: it waits.
  [[nodiscard]] LaunchOutcome begin_as(RunId run, RunObserver& observer);

  void request_stop();
  void kill();

  [[nodiscard]] RunId id() const { return launch_.run; }
  [[nodiscard]] std::uint64_t number() const { return number_; }  // As in its mark.
  [[nodiscard]] const std::string& path() const { return launch_.path; }
  [[nodiscard]] std::int64_t pid() const { return pid_; }
  [[nodiscard]] bool is_standby() const { return observer_ == nullptr; }
  // REQUIRES: no standby.
  [[nodiscard]] RunObserver& observer() const { return *observer_; }
  [[nodiscard]] bool was_to_end() const { return cause_.stop_requested || cause_.kill_requested; }
  [[nodiscard]] const Launch& launch() const { return launch_; }
  // It said that it declines to run, before it was ready.
  [[nodiscard]] bool declined() const { return declined_; }

  // What its descendants may still print to.
  [[nodiscard]] std::vector<std::unique_ptr<OutputPipe>> take_open_pipes() {
    return channels_.take_open_pipes();
  }
  // Nothing to wait for if its pidfd is empty.
  [[nodiscard]] Remains take_remains();

 private:
  [[nodiscard]] const ServiceSpec& spec() const { return *launch_.service; }
  [[nodiscard]] bool is_python() const {
    return std::holds_alternative<PythonTarget>(spec().target);
  }
  [[nodiscard]] const HeartbeatLiveness* heartbeat_spec() const {
    return std::get_if<HeartbeatLiveness>(&spec().liveness);
  }

  [[nodiscard]] Status prepare();
  [[nodiscard]] bool start_from_template();
  void on_born(WorkerTemplate::Birth birth, SpawnedProcess process);
  [[nodiscard]] Status spawn_fresh();
  void start_fresh_late(bool with_new_mark);
  void has_begun();
  [[nodiscard]] bool is_pending() const { return template_ && pid_ == 0; }
  void end_before_birth();
  [[nodiscard]] LaunchOutcome outcome_of_start();

  void begin(SpawnedProcess process);
  void send_start_message();
  void begin_readiness();
  void begin_liveness();
  [[nodiscard]] MakeExecProbe exec_probes();
  [[nodiscard]] std::unique_ptr<Probe> make_exec_probe(const std::vector<std::string>& argv);

  void on_message(const nlohmann::json& message) override;
  void on_notification(const Notification& notification) override;
  void on_said_ready() override;
  void become_ready();
  void become_unresponsive(const std::string& probe, const std::string& detail, Duration silence);
  void stop_watching();

  void on_output_ended(OutputPipe& pipe) override;
  void on_lock_released();
  void on_died();
  void end(const ProcessEnd& end);

  RunWorld& world_;
  Owner& owner_;
  RunObserver* observer_;
  Launch launch_;
  std::uint64_t number_;

  // Until there is a process.
  std::unique_ptr<SpawnRequest> request_;
  WorkerTemplate::OrderId order_ = 0;
  TimerId early_end_ = TimerId::none;

  std::shared_ptr<WorkerTemplate> template_;
  std::optional<std::size_t> place_;  // On the board of deaths.
  pid_t pid_ = 0;
  UniqueFd pidfd_;
  bool alive_ = false;  // From its spawn until it is reaped.
  bool ready_ = false;
  bool ready_before_birth_ = false;
  bool declined_ = false;
  bool watching_ = true;  // For readiness and liveness; not any more once its end is decided.
  EndCause cause_;

  ProcessChannels channels_;
  std::unique_ptr<ProbeLoop> probing_;  // For readiness, then for liveness.
  std::shared_ptr<const SpawnRequest> probe_request_;
  std::unique_ptr<HeartbeatWatch> heartbeat_;
  TimerId abort_deadline_ = TimerId::none;
  Watch death_;
  bool forked_ = false;
  bool told_start_ = false;
  bool said_waiting_ = false;
  bool told_early_ = false;  // Of its death, by the board.
};

}  // namespace unirun
