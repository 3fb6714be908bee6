#include "supervisors/supervisor.h"

#include <utility>

#include <fmt/format.h>

namespace unirun {

std::string Executors::names() const {
  std::string names;
  for (const auto& [name, executor] : by_name_) names += (names.empty() ? "" : ", ") + name;
  return names;
}

void Executors::request_stop(RunId run) const {
  for (const auto& [name, executor] : by_name_) executor->request_stop(run);
}

void Executors::kill(RunId run) const {
  for (const auto& [name, executor] : by_name_) executor->kill(run);
}

Supervisor::Supervisor(const SupervisionWorld& world, detail::Outbox& outbox, std::string path,
                       const std::shared_ptr<const SupervisorSpec>& spec)
    : world_(world),
      outbox_(outbox),
      path_(std::move(path)),
      supervision_(spec, world.random, world.runs) {}

Supervisor::~Supervisor() { world_.timers.cancel_timer(timer_); }

void Supervisor::start(std::function<void()> on_started, std::function<void(ExitReason)> on_ended) {
  on_started_ = std::move(on_started);
  on_ended_ = std::move(on_ended);
  perform(supervision_.start(world_.clock.now()));
}

void Supervisor::call(Command command, Reply reply) {
  const CallId id{++last_call_};
  callers_.emplace(id, std::move(reply));
  perform(supervision_.on_call(id, command, world_.clock.now()));
}

void Supervisor::shut_down(ExitReason reason) {
  perform(supervision_.shut_down(std::move(reason), world_.clock.now()));
}

void Supervisor::kill_all() { perform(supervision_.kill_all(world_.clock.now())); }

void Supervisor::on_process(RunId run, std::int64_t pid) { supervision_.on_process(run, pid); }

void Supervisor::on_ready(RunId run) { perform(supervision_.on_ready(run, world_.clock.now())); }

void Supervisor::on_exited(RunId run, ExitReason reason) {
  nested_.erase(run);
  perform(supervision_.on_exited(run, std::move(reason), world_.clock.now()));
}

void Supervisor::on_ignored(RunId run) {
  nested_.erase(run);
  perform(supervision_.on_ignored(run, world_.clock.now()));
}

// ---- Carrying out ----

// One action may lead to another input, and that to more actions: they queue up here rather than
// nest, so that starting ten thousand children in a row needs no deep stack.
void Supervisor::perform(Actions actions) {
  for (Action& action : actions) to_do_.push_back(std::move(action));
  if (performing_) return;
  const auto alive = shared_from_this();
  const detail::Outbox::Turn turn(outbox_);
  performing_ = true;
  while (!to_do_.empty()) {
    Action action = std::move(to_do_.front());
    to_do_.pop_front();
    std::visit([this](auto& a) { carry_out(std::move(a)); }, action);
  }
  performing_ = false;
  arm_timer();
  tell_owner();
}

// Last, when nothing decided is left undone: what the owner does about it may come straight back
// here, and must not overtake it.
void Supervisor::tell_owner() {
  if (std::exchange(started_, false)) on_started_();
  if (const auto reason = std::exchange(ended_, std::nullopt)) on_ended_(*reason);
}

void Supervisor::carry_out(action::Launch launch) {
  LaunchOutcome outcome =
      launch.spec->supervisor ? launch_supervisor(launch) : launch_service(launch);
  const bool follows = outcome.state == LaunchOutcome::State::running ||
                       outcome.state == LaunchOutcome::State::starting ||
                       outcome.state == LaunchOutcome::State::over;
  if (!follows) nested_.erase(launch.run);
  perform(supervision_.on_launched(launch.run, std::move(outcome), world_.clock.now()));
}

LaunchOutcome Supervisor::launch_service(const action::Launch& launch) {
  Executor* executor = world_.executors.find(launch.spec->executor);
  if (!executor) {
    LaunchOutcome outcome;
    outcome.reason = ExitReason::of(ExitKind::start_failed,
                                    fmt::format("no executor is called \"{}\"; there is: {}",
                                                launch.spec->executor, world_.executors.names()));
    return outcome;
  }
  std::shared_ptr<const ServiceSpec> service = launch.spec->service;
  if (launch.arguments) {
    auto own = std::make_shared<ServiceSpec>(*service);
    own->arguments.insert(own->arguments.end(), launch.arguments->begin(), launch.arguments->end());
    service = std::move(own);
  }
  return executor->launch(
      {launch.run, path_of(launch.id), launch.id, launch.spec->instance, std::move(service)},
      *this);
}

LaunchOutcome Supervisor::launch_supervisor(const action::Launch& launch) {
  const RunId run = launch.run;
  auto nested =
      std::make_shared<Supervisor>(world_, outbox_, path_of(launch.id), launch.spec->supervisor);
  nested_.emplace(run, nested);
  Launching launching{run, false, std::nullopt};
  launching_ = &launching;
  nested->start([this, run] { on_nested_started(run); },
                [this, run](ExitReason reason) { on_nested_ended(run, std::move(reason)); });
  launching_ = nullptr;

  LaunchOutcome outcome;
  if (launching.ended && !launching.started) {
    outcome.state = LaunchOutcome::State::failed;
    outcome.reason = std::move(*launching.ended);
    return outcome;
  }
  outcome.state =
      launching.started ? LaunchOutcome::State::running : LaunchOutcome::State::starting;
  if (launching.ended) {
    // It has come and gone while we looked on: the news of its end must not overtake the launch.
    auto tell = [alive = weak_from_this(), run, reason = std::move(*launching.ended)] {
      if (const auto self = alive.lock()) self->on_exited(run, reason);
    };
    // Not cancelled: it holds nothing alive, and a dead run is ignored.
    static_cast<void>(world_.timers.start_timer(world_.clock.now(), std::move(tell)));
  }
  return outcome;
}

void Supervisor::on_nested_started(RunId run) {
  if (launching_ && launching_->run == run) {
    launching_->started = true;
  } else {
    on_ready(run);
  }
}

void Supervisor::on_nested_ended(RunId run, ExitReason reason) {
  if (launching_ && launching_->run == run) {
    launching_->ended = std::move(reason);
  } else {
    on_exited(run, std::move(reason));
  }
}

void Supervisor::carry_out(const action::RequestStop& stop) {
  const auto found = nested_.find(stop.run);
  if (found == nested_.end()) return world_.executors.request_stop(stop.run);
  const Nested alive = found->second;  // Its end takes it out of nested_.
  alive->shut_down(ExitReason::shutdown());
}

void Supervisor::carry_out(const action::Kill& kill) {
  const auto found = nested_.find(kill.run);
  if (found == nested_.end()) return world_.executors.kill(kill.run);
  const Nested alive = found->second;
  alive->kill_all();
}

void Supervisor::carry_out(action::Reply reply) {
  auto caller = callers_.extract(reply.call);
  UNIRUN_REQUIRE(!caller.empty());  // Every call is answered once.
  if (!caller.mapped()) return;
  if (reply.outcome) reply.outcome->path = path_of(reply.outcome->id);
  outbox_.call([answer = std::move(caller.mapped()), outcome = std::move(reply.outcome)] {
    answer(outcome);
  });
}

void Supervisor::carry_out(action::Publish publish) {
  if (!outbox_.wants(publish.payload)) return;
  outbox_.publish(publish.id.empty() ? path_ : path_of(publish.id), std::move(publish.payload));
}

void Supervisor::carry_out(const action::Started&) { started_ = true; }

void Supervisor::carry_out(action::Ended ended) { ended_ = std::move(ended.reason); }

void Supervisor::arm_timer() {
  const Instant due = supervision_.next_deadline();
  if (due == timer_due_) return;
  world_.timers.cancel_timer(std::exchange(timer_, TimerId::none));
  timer_due_ = due;
  if (due == Instant::max()) return;
  timer_ = world_.timers.start_timer(due, [this] {
    timer_ = TimerId::none;
    timer_due_ = Instant::max();
    perform(supervision_.on_time(world_.clock.now()));
  });
}

// ---- Questions ----

std::string Supervisor::path_of(std::string_view id) const {
  if (path_.empty()) return std::string(id);
  std::string path;
  path.reserve(path_.size() + 1 + id.size());
  return path.append(path_).append("/").append(id);
}

std::vector<ChildSnapshot> Supervisor::children() const {
  std::vector<ChildSnapshot> children = supervision_.children();
  for (ChildSnapshot& child : children) child.path = path_of(child.id);
  return children;
}

Result<ChildSnapshot> Supervisor::child(const ChildRef& ref) const {
  Result<ChildSnapshot> child = supervision_.child(ref);
  if (child) child->path = path_of(child->id);
  return child;
}

SupervisorSnapshot Supervisor::snapshot() const {
  return supervision_.snapshot(world_.clock.now());
}

Supervisor* Supervisor::nested(RunId run) const {
  const auto found = nested_.find(run);
  return found == nested_.end() ? nullptr : found->second.get();
}

}  // namespace unirun
