#include "executors/process/process_executor.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <unordered_map>
#include <utility>
#include <vector>

#include "executors/process/death_board.h"
#include "executors/process/guard.h"
#include "executors/process/host_mark.h"
#include "executors/process/process_run.h"
#include "executors/process/run_world.h"
#include "executors/process/standbys.h"
#include "executors/process/stray_sweeper.h"
#include "executors/process/template_pool.h"

namespace unirun {
namespace {

// What one supervisor says to its child is not meant for the children of that child.
Environment environment_for_services() {
  Environment environment = Environment::of_this_process();
  for (const char* name :
       {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID",
        "LISTEN_FDNAMES", "UNIRUN_CONTROL_FD", "UNIRUN_FAULT_FD"}) {
    environment.erase(name);
  }
  environment.share();  // With every launch.
  return environment;
}

std::string text_of(const HostMark& mark) {
  char text[HostMark::max_text];
  mark.write(text);
  return text;
}

}  // namespace

struct ProcessExecutor::Impl final : ProcessRun::Owner {
  using OpenPipes = std::vector<std::unique_ptr<OutputPipe>>;
  struct Burial {
    ProcessRun::Remains remains;
    Watch reaped;  // After the pidfd: it ends first.
  };

  Impl(EventLoop& loop, EventBus& bus, OutputStore& output, ProcessExecutorOptions some_options)
      : options(std::move(some_options)),
        world{loop,
              bus,
              output,
              Random(options.seed != 0 ? options.seed : Random::system_seed()),
              {},
              options.python_interpreter,
              environment_for_services(),
              {},
              {},
              {},
              {}},
        deaths(loop),
        templates(world, [this](std::uint64_t number) { sweeper.run_ended(number, "", [] {}); }),
        standbys(world, *this),
        sweeper(loop, bus, world.children, mark_this_host(), options.sole_parent,
                [this] { return live_launches(); }) {
    world.deaths = &deaths;
    world.templates = &templates;
    world.control_socket = options.control_socket;
    world.metrics = options.metrics;
    if (options.mark_process) {
      ::setenv(host_mark_variable, world.host_mark.c_str(), 1);
      ::setenv(launch_mark_variable, launch_of_host, 1);
    }
  }

  // Before the sweeper, which keeps it.
  const std::string& mark_this_host() {
    world.host_mark = text_of(HostMark::of_this_process(world.chance.next()));
    return world.host_mark;
  }

  [[nodiscard]] StraySweeper::Launches live_launches() const {
    StraySweeper::Launches launches;
    launches.live.reserve(runs.size());
    for (const auto& [id, run] : runs) launches.live.push_back(run->number());
    standbys.add_numbers(launches.live);
    templates.add_numbers(launches.live);
    launches.last = world.last_launch;
    return launches;
  }

  void on_process(ProcessRun& run) override { run.observer().on_process(run.id(), run.pid()); }
  void on_ready(ProcessRun& run) override;
  void on_waiting(ProcessRun& run) override { standbys.waits(run); }
  void on_number_lost(ProcessRun& run, std::uint64_t number) override {
    sweeper.run_ended(number, run.path(), [] {});
  }
  void on_ended(ProcessRun& run, ExitReason reason) override;

  void sweep_after(ProcessRun& run);
  void bury(ProcessRun::Remains remains);
  void finish_burials();

  void raise_open_files();
  void tell_of_leftovers(std::uint64_t count);
  [[nodiscard]] Status watch_child_signal();

  const ProcessExecutorOptions options;
  RunWorld world;
  DeathBoard deaths;
  TemplatePool templates;  // Before the runs, which hold on to theirs.
  Standbys standbys;
  std::unordered_map<RunId, std::unique_ptr<ProcessRun>> runs;
  // Processes whose death was told, until the kernel is done with them.
  std::unordered_map<pid_t, Burial> burials;
  // Of runs that have ended, until nobody can write to them any more.
  std::unordered_map<std::uint64_t, OpenPipes> lingering;  // By number.
  UniqueFd child_signals;
  Watch child_signal;
  TimerId telling_of_leftovers = TimerId::none;
  StraySweeper sweeper;
  std::unique_ptr<Guard> guard;
};

void ProcessExecutor::Impl::raise_open_files() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur == limit.rlim_max) return;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) world.open_files = limit;
}

// When the loop runs: whoever is to hear of it may not listen before, and numbers no event yet.
void ProcessExecutor::Impl::tell_of_leftovers(std::uint64_t count) {
  telling_of_leftovers = world.loop.start_timer(world.loop.clock().now(), [this, count] {
    telling_of_leftovers = TimerId::none;
    world.bus.publish({}, StraysKilled{count});
  });
}

// For adopted children only; ours have a pidfd. By a descriptor, for a handler would run in the
// midst of every death, between the dead and its replacement.
Status ProcessExecutor::Impl::watch_child_signal() {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  ::pthread_sigmask(SIG_BLOCK, &child, nullptr);
  child_signals.reset(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!child_signals) return Error::from_errno(errno, "signalfd for SIGCHLD");
  child_signal = world.loop.watch(child_signals.get(), Interest::readable, [this](Interest) {
    signalfd_siginfo one_of_many{};
    [[maybe_unused]] const auto count =
        ::read(child_signals.get(), &one_of_many, sizeof one_of_many);
    sweeper.reap_soon();
  });
  return {};
}

void ProcessExecutor::Impl::on_ready(ProcessRun& run) {
  standbys.service_runs(run.launch());
  run.observer().on_ready(run.id());
}

void ProcessExecutor::Impl::bury(ProcessRun::Remains remains) {
  if (!remains.pidfd) return;
  const pid_t pid = remains.pid;
  Burial& burial = burials[pid];
  burial.remains = std::move(remains);
  burial.reaped =
      world.loop.watch(burial.remains.pidfd.get(), Interest::readable, [this, pid](Interest) {
        siginfo_t ended{};
        ::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG);
        world.children.erase(pid);
        const auto found = burials.find(pid);
        if (found->second.remains.place) deaths.give_back(*found->second.remains.place);
        burials.erase(found);
      });
}

// Bounded, as everything that waits for a death.
void ProcessExecutor::Impl::finish_burials() {
  for (auto& [pid, burial] : burials) {
    burial.reaped.reset();
    constexpr int patience_ms = 2000;
    pollfd death{burial.remains.pidfd.get(), POLLIN, 0};
    while (::poll(&death, 1, patience_ms) < 0 && errno == EINTR) {
    }
    siginfo_t ended{};
    ::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG);
  }
  burials.clear();
}

void ProcessExecutor::Impl::sweep_after(ProcessRun& run) {
  bury(run.take_remains());
  if (OpenPipes pipes = run.take_open_pipes(); !pipes.empty()) {
    lingering.emplace(run.number(), std::move(pipes));
  }
  sweeper.run_ended(run.number(), run.path(), [this, number = run.number()] {
    const auto pipes = lingering.find(number);
    if (pipes == lingering.end()) return;
    for (const auto& pipe : pipes->second) pipe->drain();
    lingering.erase(pipes);
  });
}

void ProcessExecutor::Impl::on_ended(ProcessRun& run, ExitReason reason) {
  if (run.is_standby()) {
    sweep_after(run);
    standbys.ended(run);
    return templates.look_soon();
  }
  const auto found = runs.find(run.id());
  const std::unique_ptr<ProcessRun> ended = std::move(found->second);
  runs.erase(found);
  const RunId id = ended->id();
  RunObserver& observer = ended->observer();
  const bool declined = ended->declined() && reason.kind == ExitKind::normal;
  if (ended->was_to_end() || declined) {
    standbys.service_stopped(ended->path());
  } else {
    standbys.service_ended(ended->path());
  }
  sweep_after(*ended);
  templates.look_soon();
  // Last: the observer launches the replacement from here, before any stray is looked for.
  if (declined) return observer.on_ignored(id);
  observer.on_exited(id, std::move(reason));
}

ProcessExecutor::ProcessExecutor(EventLoop& loop, EventBus& bus, OutputStore& output,
                                 ProcessExecutorOptions options)
    : impl_(std::make_unique<Impl>(loop, bus, output, std::move(options))) {}

// The runs first (each kills its group and waits for its end), the guard last: it looks for what
// is left.
ProcessExecutor::~ProcessExecutor() {
  impl_->world.loop.cancel_timer(impl_->telling_of_leftovers);
  impl_->child_signal.reset();
  for (const auto& [id, run] : impl_->runs) run->kill();  // All, before any is waited for.
  impl_->runs.clear();
  impl_->standbys.clear();
  impl_->templates.clear();
  impl_->finish_burials();
  impl_->guard.reset();
}

Status ProcessExecutor::start() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
    return Error::from_errno(errno, "PR_SET_CHILD_SUBREAPER");
  }
  impl_->raise_open_files();
  // Whoever started us may ignore it, and that is inherited: the kernel would then reap our
  // children itself, and nobody would ever know how they ended.
  struct sigaction on_child {};
  ::sigaction(SIGCHLD, nullptr, &on_child);
  if (on_child.sa_handler == SIG_IGN) ::signal(SIGCHLD, SIG_DFL);
  EventLoop& loop = impl_->world.loop;
  if (impl_->options.sole_parent) {
    if (Status watched = impl_->watch_child_signal(); !watched) return watched;
  }
  if (const std::uint64_t left = finish_leftovers(); left > 0) impl_->tell_of_leftovers(left);
  if (!impl_->options.with_guard) return {};
  impl_->guard =
      std::make_unique<Guard>(loop, impl_->world.bus, impl_->world.spawner, impl_->world.children,
                              impl_->world.host_mark, impl_->options.guard_program);
  return impl_->guard->start();
}

LaunchOutcome ProcessExecutor::launch(const Launch& launch, RunObserver& observer) {
  UNIRUN_REQUIRE(launch.service != nullptr && impl_->runs.count(launch.run) == 0);
  std::unique_ptr<ProcessRun> run = impl_->standbys.take(launch);
  LaunchOutcome outcome;
  if (run) {
    outcome = run->begin_as(launch.run, observer);
  } else {
    run = std::make_unique<ProcessRun>(impl_->world, *impl_, &observer, launch);
    outcome = run->start();
  }
  if (outcome.state == LaunchOutcome::State::failed) return outcome;
  impl_->runs.emplace(launch.run, std::move(run));
  if (outcome.state == LaunchOutcome::State::running) impl_->standbys.service_runs(launch);
  return outcome;
}

void ProcessExecutor::request_stop(RunId run) {
  if (const auto found = impl_->runs.find(run); found != impl_->runs.end()) {
    found->second->request_stop();
  }
}

void ProcessExecutor::kill(RunId run) {
  if (const auto found = impl_->runs.find(run); found != impl_->runs.end()) found->second->kill();
}

std::size_t ProcessExecutor::running() const { return impl_->runs.size(); }

void ProcessExecutor::drain(std::function<void()> on_drained) {
  UNIRUN_REQUIRE(impl_->runs.empty());
  impl_->standbys.clear();
  impl_->templates.clear();
  impl_->sweeper.drain([this, on_drained = std::move(on_drained)] {
    if (impl_->guard) impl_->guard->dismiss();
    on_drained();
  });
}

const std::string& ProcessExecutor::host_mark() const { return impl_->world.host_mark; }

}  // namespace unirun
