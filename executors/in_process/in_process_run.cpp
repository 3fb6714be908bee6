#include "executors/in_process/in_process_run.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "executors/output/service_log.h"
#include "executors/process/service_probe.h"
#include "executors/process/spawn_plan.h"

namespace unirun {

InProcessRun::InProcessRun(std::shared_ptr<InProcessWorld> world, Owner& owner,
                           RunObserver& observer, const Launch& launch)
    : world_(std::move(world)),
      owner_(owner),
      observer_(observer),
      context_(std::make_shared<InProcessContext>(
          world_, launch, static_cast<InProcessContext::Listener&>(*this))) {}

InProcessRun::~InProcessRun() { context_->sever(); }

// ---- Before it runs ----

Status InProcessRun::check_signs(ServiceStyle style) const {
  const auto refuse = [](std::string_view sign, std::string_view right) {
    return Error{Errc::start_failed,
                 fmt::format("{} of this kind needs a process of its own, and this service runs "
                             "inside the host; give it the executor \"process\", or write {}",
                             sign, right)};
  };
  const Readiness& ready = spec().readiness;
  const Liveness& alive = spec().liveness;
  if (std::holds_alternative<DescriptorReadiness>(ready) ||
      std::holds_alternative<LogReadiness>(ready) || std::holds_alternative<ExecReadiness>(ready)) {
    return refuse("readiness", "\"none\", \"notify\", \"tcp\" or \"http\"");
  }
  if (std::holds_alternative<ExecLiveness>(alive)) {
    return refuse("liveness", "\"none\", \"heartbeat\", \"tcp\" or \"http\"");
  }
  if (std::holds_alternative<LoopLagLiveness>(alive) && style == ServiceStyle::blocking) {
    return Error{Errc::start_failed,
                 "liveness by loop_lag needs the executor \"async\": a thread keeps nobody's loop"};
  }
  if (const auto plan = plan_probe(world_->loop, ready, nullptr); !plan) return plan.error();
  if (const auto plan = plan_probe(world_->loop, alive, nullptr); !plan) return plan.error();
  return {};
}

Result<std::unique_ptr<Service>> InProcessRun::make_service(ServiceStyle style) {
  if (Status signs = check_signs(style); !signs) return signs.error();
  const ServiceTarget& target = spec().target;
  if (std::holds_alternative<CommandTarget>(target)) {
    return Error{Errc::start_failed,
                 "target: a command needs a process of its own; give it the executor \"process\""};
  }
  const bool is_native = std::holds_alternative<NativeTarget>(target);
  ServiceFactory* factory = is_native ? world_->native : world_->python;
  if (factory == nullptr) {
    return Error{Errc::start_failed,
                 is_native ? "target: no native services are registered in this host"
                           : "target: there is no Python in this host; run it by `python -m "
                             "unirun up`, or give it the executor \"process\""};
  }
  try {
    return factory->make(spec(), style);
  } catch (...) {
    const ServiceEnd end = preparation_failed(std::current_exception());
    return Error{Errc::start_failed, "its constructor threw " + end.reason.describe()};
  }
}

LaunchOutcome InProcessRun::begin(bool prepared) {
  LaunchOutcome outcome;
  if (!prepared || !std::holds_alternative<NoReadiness>(spec().readiness)) {
    outcome.state = LaunchOutcome::State::starting;
    if (prepared) begin_readiness();
    return outcome;
  }
  ready_ = true;
  begin_liveness();
  outcome.state = LaunchOutcome::State::running;
  return outcome;
}

void InProcessRun::on_prepared() {
  if (!watching_) return;
  if (std::holds_alternative<NoReadiness>(spec().readiness)) return become_ready();
  begin_readiness();
}

// ---- Readiness and liveness ----

void InProcessRun::begin_readiness() {
  PlannedProbe plan = *plan_probe(world_->loop, spec().readiness, nullptr);  // It was fine.
  if (!plan.probe) return;
  probing_ = probe_readiness(world_->loop, std::move(plan), [this] { become_ready(); });
}

void InProcessRun::begin_liveness() {
  const auto* heartbeat = std::get_if<HeartbeatLiveness>(&spec().liveness);
  if (heartbeat == nullptr) {
    PlannedProbe plan = *plan_probe(world_->loop, spec().liveness, nullptr);
    if (!plan.probe) return;
    probing_ =
        probe_liveness(world_->loop, std::move(plan),
                       [this](const std::string& kind, const std::string& failure,
                              Duration silence) { become_unresponsive(kind, failure, silence); });
    return;
  }
  heartbeat_ = std::make_unique<HeartbeatWatch>(
      world_->loop, heartbeat->timeout, [this] { heartbeat_->beat_at(context_->last_heartbeat()); },
      [this, timeout = heartbeat->timeout](Duration silence) {
        become_unresponsive("heartbeat", "no heartbeat for " + format_duration(timeout), silence);
      });
}

void InProcessRun::become_ready() {
  if (ready_ || !watching_) return;
  ready_ = true;
  probing_.reset();
  begin_liveness();
  observer_.on_ready(id());
}

void InProcessRun::become_unresponsive(const std::string& probe, std::string detail,
                                       Duration silence) {
  if (!watching_) return;
  unresponsive_ = std::make_unique<const std::string>(std::move(detail));
  stop_watching();
  world_->bus.publish(path(), ServiceUnresponsive{id(), silence, probe});
  context_->request_cancellation();
  owner_.on_unresponsive(id());
}

void InProcessRun::stop_watching() {
  watching_ = false;
  heartbeat_.reset();
  probing_.reset();
}

// ---- What it says ----

void InProcessRun::on_ready_said() {
  if (std::holds_alternative<NotifyReadiness>(spec().readiness)) become_ready();
}

void InProcessRun::on_status(std::string text) {
  if (!world_->bus.wants(EventKind::service_status_text)) return;
  world_->bus.publish(path(), ServiceStatusText{id(), std::move(text)});
}

void InProcessRun::on_log(ServiceLog record) {
  if (spec().output.capture && !output_) {
    output_ = world_->output.open(path(), spec().output,
                                  fill_placeholders(spec().output.file, context_->launch()));
  }
  keep_log_record(world_->bus, output_.get(), path(), std::move(record));
}

// ---- Its end ----

void InProcessRun::request_stop() {
  if (std::exchange(stop_requested_, true)) return;
  stop_watching();
  context_->request_cancellation();
}

void InProcessRun::kill() {
  if (std::exchange(kill_requested_, true)) return;
  stop_watching();
  context_->request_cancellation();
}

ExitReason InProcessRun::judge(ExitReason reason) const {
  if (unresponsive_) {
    reason.kind = ExitKind::liveness_timeout;
    reason.detail = *unresponsive_;
  } else if (kill_requested_) {
    reason.kind = ExitKind::killed;
    reason.detail =
        stop_requested_ ? "did not end within its shutdown timeout" : "was to be killed at once";
  } else if (reason.kind == ExitKind::exit_code && reason.exit_code) {  // Python's SystemExit.
    if (spec().success_exit_codes.count(*reason.exit_code) > 0) reason.kind = ExitKind::normal;
    reason.permanent_failure = spec().no_restart_exit_codes.count(*reason.exit_code) > 0;
  }
  return reason;
}

void InProcessRun::end(ServiceEnd end) {
  stop_watching();
  context_->sever();
  if (end.declined && !ready_ && !unresponsive_ && !kill_requested_) {
    return observer_.on_ignored(id());
  }
  observer_.on_exited(id(), judge(std::move(end.reason)));
}

void InProcessRun::abandon(std::string detail, std::string stacks) {
  stop_watching();
  context_->sever();
  ExitReason reason = ExitReason::of(ExitKind::stuck, std::move(detail));
  if (unresponsive_) reason.detail = *unresponsive_ + "; " + reason.detail;
  reason.stacks = std::move(stacks);
  observer_.on_exited(id(), std::move(reason));
}

}  // namespace unirun
