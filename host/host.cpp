#include "host/host.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <set>
#include <utility>
#include <vector>

#include "executors/async/async_executor.h"
#include "executors/async_process/async_process_executor.h"
#include "executors/native/service_registry.h"
#include "executors/output/output_store.h"
#include "executors/process/process_executor.h"
#include "executors/thread/thread_executor.h"
#include "framework/require.h"
#include "host/config/host_config.h"
#include "host/control/control_server.h"
#include "host/forensics.h"
#include "host/host_door.h"
#include "host/host_lock.h"
#include "host/journal/journal.h"
#include "host/json_text.h"
#include "host/metrics/metrics.h"
#include "host/requests/request_handler.h"
#include "supervisors/supervision_tree.h"

namespace unirun {
namespace {

// How long clients may take to fetch the last of their answers.
constexpr Duration farewell = std::chrono::seconds{1};

std::string directory_of(const std::string& file) {
  const std::size_t slash = file.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : file.substr(0, slash);
}

bool is_top_level(const std::string& path) {
  return !path.empty() && path.find('/') == std::string::npos;
}

// How late the loop was for whatever came while it was at work, in seconds.
nlohmann::json figures_of(const LagHistogram& lag) {
  const auto seconds = [](Duration duration) {
    return std::chrono::duration<double>(duration).count();
  };
  return {{"turns", lag.count()},
          {"p50", seconds(lag.quantile(0.5))},
          {"p99", seconds(lag.quantile(0.99))},
          {"max", seconds(lag.max())}};
}

// Whole or not at all.
Status write_file(const std::string& file, const std::string& text) {
  const std::string draft = file + ".new";
  std::FILE* out = std::fopen(draft.c_str(), "we");
  if (!out) return Error::from_errno(errno, "write " + draft);
  const bool written = std::fwrite(text.data(), 1, text.size(), out) == text.size();
  const bool closed = std::fclose(out) == 0;
  if (written && closed && std::rename(draft.c_str(), file.c_str()) == 0) return {};
  Error error = Error::from_errno(errno, "write " + file);
  std::remove(draft.c_str());
  return error;
}

}  // namespace

class Host::Impl {
 public:
  Impl(HostConfig config, EventLoop& loop, HostOptions options)
      : loop_(loop),
        options_(options),
        config_(std::make_shared<const HostConfig>(std::move(config))),
        seed_(options.seed    ? *options.seed
              : config_->seed ? *config_->seed
                              : Random::system_seed()),
        random_(seed_),
        events_(loop.clock()),
        output_(loop, events_),
        metrics_(events_),
        door_(loop) {}

  Status start();
  void request_stop(std::string cause);
  void on_started(std::function<void(const Status&)> callback) {
    if (tried_) return callback(*tried_);
    on_started_ = std::move(callback);
  }
  void on_ended(std::function<void(HostExit)> callback) {
    if (exit_) return callback(*exit_);
    on_ended_ = std::move(callback);
  }

  [[nodiscard]] std::optional<HostExit> ended() const { return exit_; }
  EventBus& events() { return events_; }
  OutputStore& output() { return output_; }
  [[nodiscard]] const HostConfig& config() const { return *config_; }
  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }
  [[nodiscard]] HostHandle handle() const { return door_.handle(); }
  [[nodiscard]] bool may_be_destroyed() const { return phase_ == Phase::fresh || exit_; }

 private:
  enum class Phase { fresh, running, stopping, killing, ending };

  Status check_spec() const;
  Result<int> claim_places();
  Status open_executors();
  void open_journal();
  void open_doors(int listening);
  void let_go();

  void watch_signals();
  void write_snapshot();
  void watch_trees();
  void on_tree_event(const Event& event);
  void end_if_all_trees_have();
  void on_trees_tried(const Status& started);
  void on_trees_ended(const ExitReason& reason);
  void say_farewell(HostExit exit);
  void finish(HostExit exit);
  [[nodiscard]] nlohmann::json describe() const;

  // Calls `step` on the loop unless the host has gone by then.
  template <class Step>
  std::function<void()> later(Step step) {
    return [alive = std::weak_ptr<bool>(alive_), step = std::move(step)] {
      if (alive.lock()) step();
    };
  }

  EventLoop& loop_;
  const HostOptions options_;
  const std::shared_ptr<const HostConfig> config_;
  const std::uint64_t seed_;
  std::string socket_path_;
  Phase phase_ = Phase::fresh;
  Instant started_at_{};
  std::optional<Status> tried_;  // Every tree stands, or one could not start.
  bool start_failed_ = false;
  std::set<std::string> given_up_;  // Trees that did, and have not been started again.
  std::optional<HostExit> exit_;
  std::function<void(const Status&)> on_started_;
  std::function<void(HostExit)> on_ended_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // In the order of their construction; each may use those above it.
  HostLock socket_lock_, journal_lock_;
  Random random_;
  EventBus events_;
  OutputStore output_;
  Metrics metrics_;
  std::unique_ptr<ProcessExecutor> processes_;
  std::unique_ptr<AsyncProcessExecutor> async_processes_;
  std::unique_ptr<ThreadExecutor> threads_;
  std::unique_ptr<AsyncExecutor> coroutines_;
  Executors executors_;
  RunIds runs_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<SupervisionTree> tree_;
  std::unique_ptr<Forensics> forensics_;
  std::unique_ptr<RequestHandler> requests_;
  HostDoor door_;
  std::unique_ptr<ControlServer> control_;
  Subscription tree_events_;
  std::vector<Watch> signals_;
};

// ---- Beginning ----

Status Host::Impl::start() {
  UNIRUN_REQUIRE(phase_ == Phase::fresh && !tree_);
  if (Status fine = check_spec(); !fine) return fine;
  const Result<int> listening = claim_places();
  if (!listening) {
    let_go();
    return listening.error();
  }
  open_journal();  // On its thread, while we look for what a dead host has left.
  if (Status opened = open_executors(); !opened) {
    if (*listening >= 0) ::close(*listening);
    let_go();
    return opened;
  }
  started_at_ = loop_.clock().now();
  journal_->start();
  const SupervisionWorld world{loop_.clock(), loop_, random_, events_, executors_, runs_};
  tree_ = std::make_unique<SupervisionTree>(
      world, std::shared_ptr<const SupervisorSpec>(config_, &config_->root));
  open_doors(*listening);
  watch_trees();
  if (options_.handle_signals) watch_signals();

  phase_ = Phase::running;
  events_.publish("", HostStarted{config_->name, ::getpid(), seed_});
  Status started = tree_->start([this](const Status& tried) { on_trees_tried(tried); },
                                [this](const ExitReason& reason) { on_trees_ended(reason); });
  if (!started) {
    let_go();
    phase_ = Phase::fresh;
  }
  return started;
}

Status Host::Impl::check_spec() const {
  const std::vector<SpecFault> faults = check(config_->root);
  if (faults.empty()) return {};
  std::string message;
  for (const SpecFault& fault : faults) {
    message += (message.empty() ? "" : "\n") + fault.where + ": " + fault.message;
  }
  return Error{Errc::invalid_configuration, message};
}

// Locks first: who holds them may remove what a dead host left, such as its socket. Answers with
// the listening socket, or -1 where there is to be none.
Result<int> Host::Impl::claim_places() {
  if (options_.journal && config_->journal_file) {
    Status made = ensure_private_directory(directory_of(*config_->journal_file));
    if (!made) return made.error();
    Result<HostLock> lock = HostLock::take(*config_->journal_file + ".lock", config_->name);
    if (!lock) return lock.error();
    journal_lock_ = std::move(*lock);
  }
  if (!options_.control) return -1;
  Status made = ensure_private_directory(directory_of(config_->control_socket));
  if (!made) return made.error();
  Result<HostLock> lock = HostLock::take(config_->control_socket + ".lock", config_->name);
  if (!lock) return lock.error();
  socket_lock_ = std::move(*lock);
  Result<int> listening = listen_on(config_->control_socket);
  if (listening) socket_path_ = config_->control_socket;
  return listening;
}

Status Host::Impl::open_executors() {
  const InProcessParts parts{.loop = loop_,
                             .bus = events_,
                             .output = output_,
                             .native = &ServiceRegistry::of_program(),
                             .python = options_.python_services,
                             .metrics = &metrics_};
  threads_ = std::make_unique<ThreadExecutor>(parts);
  executors_.add("thread", *threads_);
  coroutines_ = std::make_unique<AsyncExecutor>(parts);
  executors_.add("async", *coroutines_);
  if (options_.executor) {
    executors_.add("process", *options_.executor);
    return {};
  }
  ProcessExecutorOptions options;
  options.sole_parent = options_.sole_parent;
  options.mark_process = options_.owns_process;
  options.control_socket = socket_path_;
  options.metrics = &metrics_;
  if (!config_->python.empty()) options.python_interpreter = config_->python;
  processes_ = std::make_unique<ProcessExecutor>(loop_, events_, output_, options);
  executors_.add("process", *processes_);
  async_processes_ = std::make_unique<AsyncProcessExecutor>(*processes_);
  executors_.add("async_process", *async_processes_);
  return processes_->start();
}

void Host::Impl::open_journal() {
  JournalOptions options;
  if (options_.journal && config_->journal_file) options.file = *config_->journal_file;
  journal_ = std::make_unique<Journal>(loop_, events_, options);
}

void Host::Impl::open_doors(int listening) {
  forensics_ =
      std::make_unique<Forensics>(loop_, events_, output_, *tree_,
                                  [this](const DeathRecord& record) { journal_->record(record); });
  requests_ = std::make_unique<RequestHandler>(
      RequestScope{loop_, events_, *tree_, output_, *journal_, metrics_, config_,
                   options_.python_services != nullptr, [this] { return describe(); },
                   [this](std::string cause) { request_stop(std::move(cause)); }});
  door_.open(*requests_);
  if (listening < 0) return;
  control_ = std::make_unique<ControlServer>(loop_, events_, output_, door_.handle());
  control_->start(listening);
}

// Leaves nothing behind that shows or blocks.
void Host::Impl::let_go() {
  signals_.clear();
  tree_events_.reset();
  door_.close();
  control_.reset();
  if (!socket_path_.empty()) ::unlink(socket_path_.c_str());
  journal_.reset();
  socket_lock_ = {};
  journal_lock_ = {};
}

// ---- Signals ----

void Host::Impl::watch_signals() {
  const auto on = [this](int number, std::function<void()> action) {
    signals_.push_back(loop_.watch_signal(number, std::move(action)));
  };
  on(SIGTERM, [this] { request_stop("SIGTERM"); });
  on(SIGINT, [this] { request_stop("SIGINT"); });
  on(SIGHUP, [this] {
    events_.publish("", Warning{"SIGHUP: a running host does not take a changed configuration; "
                                "stop it and start it with the new one"});
  });
  on(SIGUSR1, [this] { output_.reopen_files(); });
  on(SIGUSR2, [this] { write_snapshot(); });
}

void Host::Impl::write_snapshot() {
  const std::string file = config_->state_dir + "/snapshot.json";
  auto problem = std::make_shared<Status>();
  loop_.run_blocking(
      [file, problem, snapshot = requests_->tree_json()] {
        *problem = ensure_private_directory(directory_of(file));
        if (*problem) *problem = write_file(file, json_text(snapshot) + "\n");
      },
      later([this, problem] {
        if (!*problem) events_.publish("", Warning{"SIGUSR2: " + problem->error().message});
      }));
}

// ---- While the trees stand ----

void Host::Impl::watch_trees() {
  const EventKinds kinds = EventKinds(EventKind::supervisor_started) |
                           EventKind::supervisor_gave_up | EventKind::supervisor_stopped;
  tree_events_ = events_.subscribe(
      kinds, [this](const Event& event) { on_tree_event(event); }, "host");
}

void Host::Impl::on_tree_event(const Event& event) {
  if (!event.path.empty() && !is_top_level(event.path)) return;
  switch (event.kind()) {
    case EventKind::supervisor_started: given_up_.erase(event.path); break;
    case EventKind::supervisor_gave_up: given_up_.insert(event.path); break;
    case EventKind::supervisor_stopped:
      // The tree is asked when it has dealt with this.
      loop_.post(later([this] { end_if_all_trees_have(); }));
      break;
    default: break;
  }
}

// A tree that has ended for good is not waited for; one that was stopped by command is.
void Host::Impl::end_if_all_trees_have() {
  if (phase_ != Phase::running || !tried_) return;
  const auto trees = tree_->which_children("");
  if (!trees || trees->empty()) return;
  for (const ChildSnapshot& tree : *trees) {
    if (tree.state != ServiceState::completed && tree.state != ServiceState::failed) return;
  }
  request_stop("every supervisor has ended");
}

void Host::Impl::on_trees_tried(const Status& started) {
  tried_ = started;
  // A stop that came in between is no failure.
  start_failed_ = !started.ok() && phase_ == Phase::running;
  if (auto callback = std::exchange(on_started_, nullptr)) callback(started);
  if (started.ok()) loop_.post(later([this] { end_if_all_trees_have(); }));
}

nlohmann::json Host::Impl::describe() const {
  const auto uptime = std::chrono::duration<double>(loop_.clock().now() - started_at_);
  const char* state = phase_ != Phase::running ? "stopping" : tried_ ? "running" : "starting";
  const LagHistogram* lag = coroutines_ ? coroutines_->loop_lag() : nullptr;
  return {{"name", config_->name},
          {"pid", ::getpid()},
          {"version", UNIRUN_VERSION},
          {"state", state},
          {"uptime", uptime.count()},
          {"origin", config_->origin},
          {"socket", socket_path_},
          {"abandoned_threads", ThreadExecutor::abandoned()},
          {"journal", options_.journal ? config_->journal_file.value_or("") : ""},
          {"seed", seed_},
          {"loop_lag", lag == nullptr ? nlohmann::json() : figures_of(*lag)}};
}

// ---- Ending ----

void Host::Impl::request_stop(std::string cause) {
  if (phase_ == Phase::running) {
    phase_ = Phase::stopping;
    events_.publish("", HostStopping{cause});
    tree_->stop(ExitReason::shutdown(std::move(cause)));
  } else if (phase_ == Phase::stopping) {
    phase_ = Phase::killing;
    tree_->kill_all();
  }
}

void Host::Impl::on_trees_ended(const ExitReason& reason) {
  if (phase_ == Phase::running) events_.publish("", HostStopping{reason.describe()});
  phase_ = Phase::ending;
  const HostExit exit = start_failed_        ? HostExit::required_service_failed
                        : !given_up_.empty() ? HostExit::gave_up
                                             : HostExit::done;
  const auto drained = later([this, exit] { say_farewell(exit); });
  if (processes_) {
    processes_->drain(drained);
  } else {
    loop_.post(drained);
  }
}

// From here on only those who listen are left: the files, the journal, the clients.
void Host::Impl::say_farewell(HostExit exit) {
  forensics_->finish();
  events_.publish("", HostStopped{static_cast<int>(exit)});
  output_.flush(later([this, exit] {
    journal_->flush(later([this, exit] {
      door_.close();
      if (!control_) return finish(exit);
      control_->finish(farewell, later([this, exit] { finish(exit); }));
    }));
  }));
}

void Host::Impl::finish(HostExit exit) {
  let_go();
  exit_ = exit;
  if (auto callback = std::exchange(on_ended_, nullptr)) callback(exit);
}

Host::Host(HostConfig config, EventLoop& loop, HostOptions options)
    : impl_(std::make_unique<Impl>(std::move(config), loop, options)) {}
Host::~Host() { UNIRUN_REQUIRE(impl_->may_be_destroyed()); }

Status Host::start() { return impl_->start(); }
void Host::request_stop(std::string cause) { impl_->request_stop(std::move(cause)); }
void Host::on_started(std::function<void(const Status&)> callback) {
  impl_->on_started(std::move(callback));
}
void Host::on_ended(std::function<void(HostExit)> callback) {
  impl_->on_ended(std::move(callback));
}
std::optional<HostExit> Host::ended() const { return impl_->ended(); }
std::size_t Host::abandoned_threads() { return ThreadExecutor::abandoned(); }
EventBus& Host::events() { return impl_->events(); }
OutputStore& Host::output() { return impl_->output(); }
const HostConfig& Host::config() const { return impl_->config(); }
const std::string& Host::socket_path() const { return impl_->socket_path(); }
HostHandle Host::handle() { return impl_->handle(); }

}  // namespace unirun
