#include "executors/process/process_run.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "executors/output/line_pattern.h"
#include "executors/output/service_log.h"
#include "executors/process/death_board.h"
#include "executors/process/process_death.h"
#include "executors/process/service_probe.h"
#include "executors/process/spawn_plan.h"
#include "executors/process/template_pool.h"
#include "executors/process/worker_message.h"

namespace unirun {
namespace {

// From SIGABRT, for the stacks, to SIGKILL.
constexpr Duration time_to_abort = std::chrono::seconds{2};

// What can be told before anything runs: addresses that are none, patterns that are none.
Status check_probes(EventLoop& loop, const ServiceSpec& spec) {
  const MakeExecProbe not_now = [](const auto&) { return nullptr; };
  if (const auto ready = plan_probe(loop, spec.readiness, not_now); !ready) return ready.error();
  if (const auto alive = plan_probe(loop, spec.liveness, not_now); !alive) return alive.error();
  if (std::holds_alternative<LoopLagLiveness>(spec.liveness)) {
    return Error{Errc::start_failed,
                 "liveness by loop_lag needs the executor \"async\"; a process with a loop of its "
                 "own shows by \"heartbeat\" that it goes round"};
  }
  if (const auto* log = std::get_if<LogReadiness>(&spec.readiness)) {
    if (const auto pattern = LinePattern::compile(log->pattern); !pattern) return pattern.error();
  }
  return {};
}

}  // namespace

ProcessRun::ProcessRun(RunWorld& world, Owner& owner, RunObserver* observer, Launch launch)
    : world_(world),
      owner_(owner),
      observer_(observer),
      launch_(std::move(launch)),
      number_(++world.last_launch),
      channels_(world, launch_, *this) {}

ProcessRun::~ProcessRun() {
  stop_watching();
  world_.loop.cancel_timer(abort_deadline_);
  world_.loop.cancel_timer(early_end_);
  if (order_ != 0) template_->cancel(order_);
  if (!alive_) {
    if (place_) world_.deaths->give_back(*place_);
    return;
  }
  ::kill(-pid_, SIGKILL);
  // Bounded: one in the hands of a dead disk dies when that lets go of it, and must not hold us up.
  constexpr int patience_ms = 2000;
  pollfd death{pidfd_.get(), POLLIN, 0};
  while (::poll(&death, 1, patience_ms) < 0 && errno == EINTR) {
  }
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG);
  world_.children.erase(pid_);
  if (place_) world_.deaths->give_back(*place_);
}

// ---- Its start ----

Status ProcessRun::prepare() {
  auto request = plan_spawn(launch_, world_);
  if (!request) return request.error();
  request_ = std::make_unique<SpawnRequest>(std::move(*request));
  told_start_ = false;
  if (const Status opened = channels_.open(*request_); !opened) return opened.error();
  return {};
}

LaunchOutcome ProcessRun::start() {
  LaunchOutcome outcome;
  const auto fail = [&](const Error& error) {
    outcome.reason = ExitReason::of(ExitKind::start_failed, error.message);
    return outcome;
  };
  if (const Status probes = check_probes(world_.loop, spec()); !probes) return fail(probes.error());
  if (const Status prepared = prepare(); !prepared) return fail(prepared.error());
  if (start_from_template()) {
    outcome.state = LaunchOutcome::State::starting;
    return outcome;
  }
  if (is_standby()) return fail({Errc::start_failed, "there is no template for it now"});
  if (const Status spawned = spawn_fresh(); !spawned) return fail(spawned.error());
  return outcome_of_start();
}

LaunchOutcome ProcessRun::outcome_of_start() {
  LaunchOutcome outcome;
  outcome.pid = pid_;
  if (!std::holds_alternative<NoReadiness>(spec().readiness)) {
    begin_readiness();
    outcome.state = LaunchOutcome::State::starting;
    return outcome;
  }
  // One that has died by now is not said to run.
  if (has_died()) {
    outcome.state = LaunchOutcome::State::over;
    return outcome;
  }
  ready_ = true;
  begin_liveness();
  outcome.state = LaunchOutcome::State::running;
  return outcome;
}

Status ProcessRun::spawn_fresh() {
  auto process = world_.spawner.spawn(*request_);
  if (!process) return process.error();
  begin(std::move(*process));
  return {};
}

// ---- From a template ----

// A descriptor under a number that the service names might be one that an import has opened.
bool ProcessRun::start_from_template() {
  if (!is_python() || spec().start != StartMode::from_template || world_.templates == nullptr ||
      std::holds_alternative<DescriptorReadiness>(spec().readiness)) {
    return false;
  }
  WorkerTemplate::Order order;
  nlohmann::json own;
  template_ =
      world_.templates->find(plan_template(launch_, *request_, own), path(), channels_.output());
  if (spec().standby > 0 && world_.deaths != nullptr) place_ = world_.deaths->take();
  std::vector<int> targets;
  for (const DescriptorMove& move : request_->descriptors) {
    order.descriptors.push_back(move.source);
    targets.push_back(move.target);
  }
  order.message = {
      {"type", "fork"},
      {"environment", std::move(own)},
      {"launch", std::to_string(number_)},
      {"run", std::to_string(static_cast<std::uint64_t>(id()))},
      {"targets", targets},
      {"control", request_->environment.get("UNIRUN_CONTROL_FD")},
      {"faults", request_->environment.get("UNIRUN_FAULT_FD")},
      {"place", place_ ? nlohmann::json(*place_) : nlohmann::json()},
      {"standby_for", is_standby() ? nlohmann::json(std::get<PythonTarget>(spec().target).target)
                                   : nlohmann::json()},
  };
  order.on_born = [this](WorkerTemplate::Birth birth, SpawnedProcess process) {
    on_born(birth, std::move(process));
  };
  order_ = template_->fork(std::move(order));
  if (order_ == 0) return false;
  if (!is_standby()) send_start_message();  // There when the worker looks for it.
  return true;
}

void ProcessRun::on_born(WorkerTemplate::Birth birth, SpawnedProcess process) {
  order_ = 0;
  if (birth != WorkerTemplate::Birth::forked) {
    return start_fresh_late(birth == WorkerTemplate::Birth::unclear);
  }
  forked_ = true;
  begin(std::move(process));
  has_begun();
}

// The template could not do it. What it may have left half done is cleared by the old mark.
void ProcessRun::start_fresh_late(bool with_new_mark) {
  if (is_standby()) return end_before_birth();
  Status status;
  if (with_new_mark) {
    const std::uint64_t lost = std::exchange(number_, ++world_.last_launch);
    owner_.on_number_lost(*this, lost);
    status = prepare();
  }
  if (status) status = spawn_fresh();
  if (status) return has_begun();
  owner_.on_ended(*this, ExitReason::of(ExitKind::start_failed, status.error().message));
}

void ProcessRun::has_begun() {
  if (is_standby()) return;
  owner_.on_process(*this);
  if (std::holds_alternative<NoReadiness>(spec().readiness)) {
    become_ready();
  } else {
    begin_readiness();
    if (ready_before_birth_) become_ready();
  }
}

// Asked to end while it still waits for a template: there is nothing to wait for then.
void ProcessRun::end_before_birth() {
  if (early_end_ != TimerId::none) return;
  if (order_ != 0) template_->cancel(std::exchange(order_, 0));
  early_end_ = world_.loop.start_timer(world_.loop.clock().now(), [this] {
    early_end_ = TimerId::none;
    ProcessEnd end;
    end.by_signal = cause_.kill_requested;
    end.status = cause_.kill_requested ? SIGKILL : 0;
    owner_.on_ended(*this, exit_reason(spec(), end, cause_));  // Destroys this.
  });
}

LaunchOutcome ProcessRun::begin_as(RunId run, RunObserver& observer) {
  launch_.run = run;
  observer_ = &observer;
  channels_.belongs_to(run);
  send_start_message();
  return outcome_of_start();
}

// ---- Alive ----

void ProcessRun::begin(SpawnedProcess process) {
  const std::unique_ptr<SpawnRequest> request = std::move(request_);
  pid_ = process.pid;
  pidfd_ = std::move(process.pidfd);
  alive_ = true;
  world_.children.insert(pid_);
  death_ = world_.loop.watch(pidfd_.get(), Interest::readable, [this](Interest) { on_died(); });
  channels_.begin(pid_, request->credentials.user.value_or(::geteuid()), number_);
  if (is_python() && !is_standby()) send_start_message();
  if (std::holds_alternative<ExecReadiness>(spec().readiness) ||
      std::holds_alternative<ExecLiveness>(spec().liveness)) {
    // A probe's command runs as the service does, in its group; not with its descriptors.
    auto probe = std::make_shared<SpawnRequest>(std::move(*request));
    probe->descriptors.clear();
    probe->process_group = pid_;
    for (const char* name :
         {"NOTIFY_SOCKET", "WATCHDOG_USEC", "UNIRUN_CONTROL_FD", "UNIRUN_FAULT_FD"}) {
      probe->environment.erase(name);
    }
    probe_request_ = std::move(probe);
  }
}

void ProcessRun::send_start_message() {
  if (std::exchange(told_start_, true)) return;
  // A standby was forked before there was a run.
  const auto run = forked_ ? std::optional(id()) : std::nullopt;
  channels_.send(start_message(launch_, world_.control_socket, run));
}

MakeExecProbe ProcessRun::exec_probes() {
  return [this](const std::vector<std::string>& argv) { return make_exec_probe(argv); };
}

std::unique_ptr<Probe> ProcessRun::make_exec_probe(const std::vector<std::string>& argv) {
  auto request = std::make_shared<SpawnRequest>(*probe_request_);
  request->argv.clear();
  for (const std::string& argument : argv) {
    request->argv.push_back(fill_placeholders(argument, launch_));
  }
  const std::string name = request->argv.empty() ? std::string() : request->argv.front();
  return std::make_unique<ExecProbe>(
      world_.loop, world_.children, name, [this, request]() -> Result<SpawnedProcess> {
        if (request->argv.empty()) return Error{Errc::start_failed, "exec probe: no command"};
        const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        request->descriptors = {{null.get(), STDOUT_FILENO}, {null.get(), STDERR_FILENO}};
        return world_.spawner.spawn(*request);
      });
}

void ProcessRun::begin_readiness() {
  if (channels_.watch_readiness()) return;
  PlannedProbe plan = *plan_probe(world_.loop, spec().readiness, exec_probes());  // It was fine.
  if (!plan.probe) return;
  probing_ = probe_readiness(world_.loop, std::move(plan), [this] { become_ready(); });
}

void ProcessRun::begin_liveness() {
  if (const HeartbeatLiveness* heartbeat = heartbeat_spec()) {
    heartbeat_ = std::make_unique<HeartbeatWatch>(
        world_.loop, heartbeat->timeout, [this] { channels_.read_messages(); },
        [this](Duration silence) {
          become_unresponsive("heartbeat",
                              "no heartbeat for " + format_duration(heartbeat_spec()->timeout),
                              silence);
        });
    return;
  }
  PlannedProbe plan = *plan_probe(world_.loop, spec().liveness, exec_probes());
  if (!plan.probe) return;
  probing_ =
      probe_liveness(world_.loop, std::move(plan),
                     [this](const std::string& kind, const std::string& failure, Duration silence) {
                       become_unresponsive(kind, failure, silence);
                     });
}

void ProcessRun::on_message(const nlohmann::json& message) {
  const std::string type = text_of(message, "type");
  // Whatever a worker says, it is alive; but of a loop only the loop itself can say so.
  const bool tells = launch_.style == ServiceStyle::blocking || type == "heartbeat";
  if (heartbeat_ && tells) heartbeat_->beat();
  if (type == "ready") {
    if (std::holds_alternative<NotifyReadiness>(spec().readiness)) become_ready();
  } else if (type == "status") {
    world_.bus.publish(path(), ServiceStatusText{id(), text_of(message, "text")});
  } else if (type == "log") {
    keep_log_record(world_.bus, channels_.output().get(), path(), read_log(id(), message));
  } else if (type == "metrics") {
    if (world_.metrics != nullptr) read_metrics(path(), id(), message, *world_.metrics);
  } else if (type == "exception") {
    read_exception(message, cause_);
  } else if (type == "ignore") {
    declined_ = !ready_;
  } else if (type == "waiting" && !std::exchange(said_waiting_, true)) {
    if (place_ && spec().standby_after == StandbyAfter::death) {
      world_.deaths->watch(*place_, [this] { on_lock_released(); });
    }
    if (is_standby()) owner_.on_waiting(*this);
  }
}

void ProcessRun::on_notification(const Notification& notification) {
  if (notification.has_status) {
    world_.bus.publish(path(), ServiceStatusText{id(), notification.status});
  }
  if (notification.ready && std::holds_alternative<NotifyReadiness>(spec().readiness)) {
    become_ready();
  }
  if (notification.watchdog && heartbeat_) heartbeat_->beat();
  if (notification.watchdog_trigger && heartbeat_) {
    become_unresponsive("heartbeat", "it said WATCHDOG=trigger", Duration::zero());
  }
}

void ProcessRun::on_said_ready() { become_ready(); }

void ProcessRun::become_ready() {
  if (ready_ || !watching_) return;
  // A worker may be quicker with its word than its template with its pid.
  ready_before_birth_ = order_ != 0;
  if (ready_before_birth_) return;
  ready_ = true;
  probing_.reset();
  channels_.stop_watching_readiness();
  if (alive_) begin_liveness();
  owner_.on_ready(*this);
}

void ProcessRun::become_unresponsive(const std::string& probe, const std::string& detail,
                                     Duration silence) {
  if (!watching_) return;
  cause_.unresponsive = detail;
  stop_watching();
  // First so that faulthandler writes every thread's stack; a process that does not even die of
  // this is killed with its group.
  ::kill(pid_, SIGABRT);
  abort_deadline_ = world_.loop.start_timer(world_.loop.clock().now() + time_to_abort,
                                            [this] { ::kill(-pid_, SIGKILL); });
  world_.bus.publish(path(), ServiceUnresponsive{id(), silence, probe});
}

// Readiness and liveness are over. Not destroyed at once, for this may be called by one of them.
void ProcessRun::stop_watching() {
  watching_ = false;
  channels_.stop_watching_readiness();
  heartbeat_.reset();
  probing_.reset();
}

void ProcessRun::request_stop() {
  if (cause_.stop_requested) return;
  cause_.stop_requested = true;
  if (!alive_) return is_pending() ? end_before_birth() : void();
  stop_watching();
  channels_.send({{"type", "cancel"}});
  ::kill(pid_, spec().stop_signal);
  ::kill(pid_, SIGCONT);  // A stopped process could not answer.
}

void ProcessRun::kill() {
  cause_.kill_requested = true;
  if (!alive_) return is_pending() ? end_before_birth() : void();
  stop_watching();
  ::kill(-pid_, SIGKILL);
}

// ---- The end ----

bool ProcessRun::has_died() const {
  pollfd death{pidfd_.get(), POLLIN, 0};
  return ::poll(&death, 1, 0) == 1;
}

// A dying process lets go of its pipes just before its death is told: as a rule it has been by now,
// and what is in a hurry is its replacement.
void ProcessRun::on_output_ended(OutputPipe& pipe) {
  if (has_died()) return on_died();
  pipe.close();
}

// The lock is let go by the death of the main thread, before its memory is torn down, or by
// something else: only the kernel's own word that the process is dying, and of what, counts. A
// normal end waits for the pidfd: 0 is also what stands there of one that has not ended.
void ProcessRun::on_lock_released() {
  if (!alive_) return;
  const auto ended = end_of_dying(world_, pid_, {forked_, cause_.kill_requested});
  if (!ended) return;
  ::kill(-pid_, SIGKILL);
  death_.reset();  // Whoever takes the remains waits there.
  told_early_ = true;
  end(*ended);
}

void ProcessRun::on_died() {
  // While the dead leader is not reaped its number cannot be given to another group.
  ::kill(-pid_, SIGKILL);
  const ProcessEnd ended = reap(world_, pid_, {forked_, cause_.kill_requested});
  world_.children.erase(pid_);
  end(ended);
}

// What can wait is closed with the run itself, when the replacement has been launched.
void ProcessRun::end(const ProcessEnd& end) {
  alive_ = false;
  world_.loop.cancel_timer(std::exchange(abort_deadline_, TimerId::none));
  // Its last words: what it wrote before it died is there by now. It may say "ready" here, too.
  channels_.read_last_words();
  stop_watching();
  ExitReason reason = exit_reason(spec(), end, cause_);
  if (end.by_signal || cause_.exception) reason.stacks = channels_.read_stacks();
  owner_.on_ended(*this, std::move(reason));  // Destroys this.
}

ProcessRun::Remains ProcessRun::take_remains() {
  if (!told_early_) return {};
  return {pid_, std::move(pidfd_), std::exchange(place_, std::nullopt)};
}

}  // namespace unirun
