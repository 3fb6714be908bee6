#include "executors/process/process_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <regex>
#include <utility>

#include "executors/output/service_log.h"
#include "executors/process/death_board.h"
#include "executors/process/process_table.h"
#include "executors/process/service_probe.h"
#include "executors/process/spawn_plan.h"
#include "executors/process/template_pool.h"

namespace unirun {
namespace {

// From SIGABRT, for the stacks, to SIGKILL.
constexpr Duration time_to_abort = std::chrono::seconds{2};

Error no_descriptor(std::string_view what) {
  Error error = Error::from_errno(errno, what);
  error.code = Errc::start_failed;
  if (errno == EMFILE) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    error.message += fmt::format(
        "; the host may have {} open, and a service takes 3 to 6; raise its hard limit (ulimit "
        "-Hn)",
        limit.rlim_cur);
  }
  return error;
}

// Which numbers the child's descriptors get: from 3 on, around the one that the spec names.
int next_target(const SpawnRequest& request) {
  int target = 3;
  for (bool taken = true; taken;) {
    taken = false;
    for (const DescriptorMove& move : request.descriptors) taken |= move.target == target;
    if (taken) ++target;
  }
  return target;
}

// A member of a message, or what stands for none: a worker may send anything.
std::string text_of(const nlohmann::json& message, const char* name) {
  const auto found = message.find(name);
  return found != message.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// The members of an object that are texts.
std::map<std::string, std::string> texts_of(const nlohmann::json& message, const char* name) {
  std::map<std::string, std::string> texts;
  const auto found = message.find(name);
  if (found == message.end() || !found->is_object()) return texts;
  for (const auto& [key, value] : found->items()) {
    if (value.is_string()) texts.emplace(key, value.get<std::string>());
  }
  return texts;
}

// An ECMAScript pattern, sought in the beginning of a line: std::regex recurses, and a long line
// would take the stack.
class LinePattern {
 public:
  explicit LinePattern(const std::string& pattern) : regex_(pattern) {}  // Throws on a bad one.

  [[nodiscard]] bool is_in(std::string_view line) const {
    constexpr std::size_t searched = 4096;
    line = line.substr(0, searched);
    try {
      return std::regex_search(line.begin(), line.end(), regex_);
    } catch (const std::regex_error&) {
      return false;  // Too complex for this line.
    }
  }

 private:
  std::regex regex_;
};

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
    try {
      const LinePattern pattern(log->pattern);
    } catch (const std::regex_error& error) {
      return Error{Errc::start_failed, fmt::format("readiness by log: '{}' is no pattern: {}",
                                                   log->pattern, error.what())};
    }
  }
  return {};
}

}  // namespace

struct ProcessRun::Ends {
  std::vector<UniqueFd> kept;  // Closed once the child has its own copies.

  int keep(int descriptor) {
    kept.emplace_back(descriptor);
    return descriptor;
  }
};

ProcessRun::ProcessRun(RunWorld& world, Owner& owner, RunObserver* observer, Launch launch)
    : world_(world),
      owner_(owner),
      observer_(observer),
      launch_(std::move(launch)),
      number_(++world.last_launch) {}

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

// ---- Before the spawn ----

Status ProcessRun::open_output(SpawnRequest& request, Ends& ends) {
  if (!spec().output.capture) {
    if (std::holds_alternative<LogReadiness>(spec().readiness)) {
      return Error{Errc::start_failed, "readiness by log: needs output.capture"};
    }
    request.descriptors.push_back({STDOUT_FILENO, STDOUT_FILENO});
    request.descriptors.push_back({STDERR_FILENO, STDERR_FILENO});
    return {};
  }
  output_ =
      world_.output.open(path(), spec().output, fill_placeholders(spec().output.file, launch_));
  for (const auto stream : {OutputStream::standard_output, OutputStream::standard_error}) {
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) < 0) return no_descriptor("output pipe");
    UniqueFd reading(pipe[0]);
    const bool is_stdout = stream == OutputStream::standard_output;
    request.descriptors.push_back({ends.keep(pipe[1]), is_stdout ? STDOUT_FILENO : STDERR_FILENO});
    (is_stdout ? stdout_ : stderr_) =
        std::make_unique<OutputPipe>(std::move(reading), id(), stream, output_);
  }
  return {};
}

Status ProcessRun::open_readiness(SpawnRequest& request, Ends& ends) {
  const auto* descriptor = std::get_if<DescriptorReadiness>(&spec().readiness);
  if (descriptor == nullptr) return {};
  if (descriptor->descriptor < 3) {
    return Error{Errc::start_failed,
                 fmt::format("readiness by fd: {} is stdin, stdout or stderr; take 3 or more",
                             descriptor->descriptor)};
  }
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) < 0) return no_descriptor("readiness pipe");
  readiness_.reset(pipe[0]);
  ::fcntl(readiness_.get(), F_SETFL, O_NONBLOCK);
  request.descriptors.push_back({ends.keep(pipe[1]), descriptor->descriptor});
  return {};
}

Status ProcessRun::open_control(SpawnRequest& request, Ends& ends) {
  if (!is_python()) return {};
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) {
    return no_descriptor("control channel");
  }
  UniqueFd ours(sockets[0]);
  const int control = next_target(request);
  request.descriptors.push_back({ends.keep(sockets[1]), control});
  request.environment.set("UNIRUN_CONTROL_FD", std::to_string(control));
  request.environment.set("PYTHONUNBUFFERED", "1");

  stacks_.reset(static_cast<int>(::memfd_create("unirun-stacks", MFD_CLOEXEC)));
  if (!stacks_) return no_descriptor("memfd for stacks");
  const int stacks = next_target(request);
  request.descriptors.push_back({stacks_.get(), stacks});
  request.environment.set("UNIRUN_FAULT_FD", std::to_string(stacks));

  control_ = std::make_unique<ControlChannel>(
      world_.loop, std::move(ours), [this](const nlohmann::json& message) { on_message(message); },
      [this](const std::string& what) {
        world_.bus.publish(path(), Warning{"control channel: " + what + "; it is closed"});
      });
  return {};
}

Status ProcessRun::open_notify(SpawnRequest& request) {
  const bool for_readiness = std::holds_alternative<NotifyReadiness>(spec().readiness);
  if (is_python() || (!for_readiness && heartbeat_spec() == nullptr)) return {};
  auto socket = NotifySocket::open(
      world_.loop, world_.chance.next(),
      [this](const Notification& notification) { on_notification(notification); });
  if (!socket) return Error{Errc::start_failed, socket.error().message};
  notify_ = std::move(*socket);
  request.environment.set("NOTIFY_SOCKET", notify_->name());
  if (const HeartbeatLiveness* heartbeat = heartbeat_spec()) {
    const auto timeout = std::chrono::duration_cast<std::chrono::microseconds>(heartbeat->timeout);
    request.environment.set("WATCHDOG_USEC", std::to_string(timeout.count()));
  }
  return {};
}

Status ProcessRun::prepare() {
  auto request = plan_spawn(launch_, world_);
  if (!request) return request.error();
  request_ = std::move(*request);
  told_start_ = false;
  ends_ = std::make_unique<Ends>();
  // The readiness descriptor first: the others go around the number that the spec names.
  for (const Status& opened : {open_readiness(request_, *ends_), open_output(request_, *ends_),
                               open_control(request_, *ends_), open_notify(request_)}) {
    if (!opened) return opened.error();
  }
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
  auto process = world_.spawner.spawn(request_);
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
  template_ = world_.templates->find(plan_template(launch_, request_, own), path(), output_);
  if (spec().standby > 0 && world_.deaths != nullptr) place_ = world_.deaths->take();
  std::vector<int> targets;
  for (const DescriptorMove& move : request_.descriptors) {
    order.descriptors.push_back(move.source);
    targets.push_back(move.target);
  }
  order.message = {
      {"type", "fork"},
      {"environment", std::move(own)},
      {"launch", std::to_string(number_)},
      {"run", std::to_string(static_cast<std::uint64_t>(id()))},
      {"targets", targets},
      {"control", request_.environment.get("UNIRUN_CONTROL_FD")},
      {"faults", request_.environment.get("UNIRUN_FAULT_FD")},
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
  if (stdout_) stdout_->belongs_to(run);
  if (stderr_) stderr_->belongs_to(run);
  send_start_message();
  return outcome_of_start();
}

// ---- Alive ----

void ProcessRun::begin(SpawnedProcess process) {
  const SpawnRequest request = std::exchange(request_, {});
  ends_.reset();
  pid_ = process.pid;
  pidfd_ = std::move(process.pidfd);
  alive_ = true;
  world_.children.insert(pid_);
  death_ = world_.loop.watch(pidfd_.get(), Interest::readable, [this](Interest) { on_died(); });
  if (stdout_) stdout_->begin(world_.loop, *this);
  if (stderr_) stderr_->begin(world_.loop, *this);
  if (control_ && !is_standby()) send_start_message();
  if (notify_) {
    notify_->accept_from(pid_, request.credentials.user.value_or(::geteuid()),
                         std::to_string(number_));
  }
  if (std::holds_alternative<ExecReadiness>(spec().readiness) ||
      std::holds_alternative<ExecLiveness>(spec().liveness)) {
    // A probe's command runs as the service does, in its group; not with its descriptors.
    auto probe = std::make_shared<SpawnRequest>(request);
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
  const HeartbeatLiveness* heartbeat = heartbeat_spec();
  const auto seconds = [](Duration duration) {
    return std::chrono::duration<double>(duration).count();
  };
  nlohmann::json message{
      {"type", "start"},
      {"target", std::get<PythonTarget>(spec().target).target},
      {"path", launch_.path},
      {"id", launch_.id},
      {"instance", launch_.instance ? nlohmann::json(*launch_.instance) : nlohmann::json()},
      {"config", spec().config},
      {"arguments", spec().arguments},
      {"heartbeat", heartbeat ? nlohmann::json(seconds(heartbeat->timeout)) : nlohmann::json()},
      {"log_level", spec().log_level},
      {"control_socket",
       world_.control_socket.empty() ? nlohmann::json() : nlohmann::json(world_.control_socket)},
  };
  if (launch_.style == ServiceStyle::async) message["on_loop"] = true;
  // A standby was forked before there was a run.
  if (forked_) message["run"] = std::to_string(static_cast<std::uint64_t>(id()));
  control_->send(message);
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
  if (readiness_) {
    readiness_watch_ = world_.loop.watch(readiness_.get(), Interest::readable,
                                         [this](Interest) { on_readiness_descriptor(); });
  } else if (const auto* log = std::get_if<LogReadiness>(&spec().readiness)) {
    const auto pattern = std::make_shared<const LinePattern>(log->pattern);
    const auto on_line = [this, pattern](std::string_view line) {
      if (pattern->is_in(line)) become_ready();
    };
    stdout_->on_line(on_line);
    stderr_->on_line(on_line);
  } else {
    PlannedProbe plan = *plan_probe(world_.loop, spec().readiness, exec_probes());  // It was fine.
    if (plan.probe) {
      probing_ = probe_readiness(world_.loop, std::move(plan), [this] { become_ready(); });
    }
  }
}

void ProcessRun::begin_liveness() {
  if (const HeartbeatLiveness* heartbeat = heartbeat_spec()) {
    heartbeat_ = std::make_unique<HeartbeatWatch>(
        world_.loop, heartbeat->timeout,
        [this] {
          if (control_) control_->read();
          if (notify_) notify_->read();
        },
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

void ProcessRun::on_log(const nlohmann::json& message) {
  const auto line = message.find("line");
  const bool has_line = line != message.end() && line->is_number_integer();
  ServiceLog record{id(),
                    text_of(message, "level"),
                    text_of(message, "logger"),
                    text_of(message, "message"),
                    text_of(message, "file"),
                    has_line ? line->get<std::int64_t>() : 0,
                    texts_of(message, "extra")};
  keep_log_record(world_.bus, output_.get(), path(), std::move(record));
}

void ProcessRun::on_metrics(const nlohmann::json& message) {
  if (world_.metrics == nullptr) return;
  const auto each = [&](const char* member, const auto& take) {
    const auto found = message.find(member);
    if (found == message.end() || !found->is_object()) return;
    for (const auto& [name, value] : found->items()) {
      if (value.is_number()) take(name, value.template get<double>());
    }
  };
  each("counters",
       [&](const std::string& name, double by) { world_.metrics->count(path(), name, by); });
  each("gauges",
       [&](const std::string& name, double value) { world_.metrics->gauge(path(), name, value); });
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
    on_log(message);
  } else if (type == "metrics") {
    on_metrics(message);
  } else if (type == "exception") {
    const auto exception = message.find("exception");
    if (exception == message.end() || !exception->is_object()) return;
    cause_.exception = ExceptionText{text_of(*exception, "type"), text_of(*exception, "message"),
                                     text_of(*exception, "traceback")};
    const auto prepared = message.find("prepared");
    cause_.never_ran = prepared != message.end() && *prepared == false;
    const auto peak = message.find("peak_rss");
    if (peak != message.end() && peak->is_number_unsigned()) cause_.peak_rss = *peak;
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

void ProcessRun::on_readiness_descriptor() {
  char bytes[256];
  const ssize_t count = ::read(readiness_.get(), bytes, sizeof bytes);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count > 0 && std::string_view(bytes, static_cast<std::size_t>(count)).find('\n') !=
                       std::string_view::npos) {
    become_ready();
  } else if (count > 0) {
    return;
  }
  // Ready, or closed without a word; then its start timeout or its end decides.
  readiness_watch_.reset();
  readiness_.reset();
}

void ProcessRun::become_ready() {
  if (ready_ || !watching_) return;
  // A worker may be quicker with its word than its template with its pid.
  ready_before_birth_ = order_ != 0;
  if (ready_before_birth_) return;
  ready_ = true;
  probing_.reset();
  if (stdout_) stdout_->on_line(nullptr);
  if (stderr_) stderr_->on_line(nullptr);
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
  readiness_watch_.reset();
  if (stdout_) stdout_->on_line(nullptr);
  if (stderr_) stderr_->on_line(nullptr);
  heartbeat_.reset();
  probing_.reset();
}

void ProcessRun::request_stop() {
  if (cause_.stop_requested) return;
  cause_.stop_requested = true;
  if (!alive_) return is_pending() ? end_before_birth() : void();
  stop_watching();
  if (control_) control_->send({{"type", "cancel"}});
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
  const int status = alive_ ? status_of_dying(pid_) : 0;
  if (status <= 0) return;
  ProcessEnd ended;
  ended.by_signal = WIFSIGNALED(status);
  ended.core_dumped = ended.by_signal && WCOREDUMP(status);
  ended.status = ended.by_signal ? WTERMSIG(status) : WEXITSTATUS(status);
  ended.out_of_memory = ended.by_signal && ended.status == SIGKILL && !cause_.kill_requested &&
                        world_.oom.has_grown();
  ::kill(-pid_, SIGKILL);
  death_.reset();  // Whoever takes the remains waits there.
  told_early_ = true;
  end(ended);
}

void ProcessRun::on_died() {
  // While the dead leader is not reaped its number cannot be given to another group.
  ::kill(-pid_, SIGKILL);
  const ProcessEnd ended = reap();
  world_.children.erase(pid_);
  end(ended);
}

// What can wait is closed with the run itself, when the replacement has been launched.
void ProcessRun::end(const ProcessEnd& end) {
  alive_ = false;
  world_.loop.cancel_timer(std::exchange(abort_deadline_, TimerId::none));
  // Its last words: what it wrote before it died is there by now. It may say "ready" here, too.
  if (control_) control_->read();
  if (notify_) notify_->read();
  if (readiness_watch_) on_readiness_descriptor();
  if (stdout_) stdout_->drain();
  if (stderr_) stderr_->drain();
  stop_watching();
  ExitReason reason = exit_reason(spec(), end, cause_);
  if (stacks_ && (end.by_signal || cause_.exception)) reason.stacks = read_stacks();
  owner_.on_ended(*this, std::move(reason));  // Destroys this.
}

ProcessEnd ProcessRun::reap() {
  ProcessEnd end;
  siginfo_t info{};
  rusage usage{};
  // glibc's waitid() has no place for the rusage that the kernel gives.
  long result = 0;
  do {
    result = ::syscall(SYS_waitid, P_PID, pid_, &info, WEXITED, &usage);
  } while (result < 0 && errno == EINTR);
  if (result < 0) {
    // Somebody else in this process waits for all children, against every rule.
    end.status = -1;
    return end;
  }
  end.by_signal = info.si_code != CLD_EXITED;
  end.core_dumped = info.si_code == CLD_DUMPED;
  end.status = info.si_status;
  end.out_of_memory =
      end.by_signal && end.status == SIGKILL && !cause_.kill_requested && world_.oom.has_grown();
  // A spawned process begins with the peak of its parent (exec_mmap() in the kernel keeps that of
  // the memory it leaves): only what lies above ours is known to be its own. A forked one begins
  // anew. What a worker says of itself is exact, but only those say it that end by an exception.
  if (usage.ru_maxrss > world_.own_peak_kib) {
    rusage own{};
    ::getrusage(RUSAGE_SELF, &own);
    world_.own_peak_kib = own.ru_maxrss;
  }
  if (forked_ || usage.ru_maxrss > world_.own_peak_kib) {
    end.peak_rss = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
  }
  return end;
}

std::string ProcessRun::read_stacks() const {
  constexpr std::size_t max_stacks = std::size_t{256} << 10;
  struct stat status {};
  if (::fstat(stacks_.get(), &status) < 0 || status.st_size <= 0) return {};
  std::string stacks(std::min(static_cast<std::size_t>(status.st_size), max_stacks), '\0');
  const ssize_t count = ::pread(stacks_.get(), stacks.data(), stacks.size(), 0);
  stacks.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return stacks;
}

ProcessRun::Remains ProcessRun::take_remains() {
  if (!told_early_) return {};
  return {pid_, std::move(pidfd_), std::exchange(place_, std::nullopt)};
}

std::vector<std::unique_ptr<OutputPipe>> ProcessRun::take_open_pipes() {
  std::vector<std::unique_ptr<OutputPipe>> open;
  for (auto* pipe : {&stdout_, &stderr_}) {
    if (!*pipe || (*pipe)->ended()) continue;
    (*pipe)->outlive_owner();
    open.push_back(std::move(*pipe));
  }
  return open;
}

}  // namespace unirun
