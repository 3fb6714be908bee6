#include "executors/process/process_channels.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "executors/output/line_pattern.h"
#include "executors/process/spawn_plan.h"

namespace unirun {
namespace {

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

bool is_python(const ServiceSpec& spec) {
  return std::holds_alternative<PythonTarget>(spec.target);
}

}  // namespace

ProcessChannels::ProcessChannels(RunWorld& world, const Launch& launch, Owner& owner)
    : world_(world), launch_(launch), owner_(owner) {}

ProcessChannels::~ProcessChannels() = default;

// ---- Before there is a process ----

Status ProcessChannels::open(SpawnRequest& request) {
  childs_ends_.clear();
  // The readiness descriptor first: the others go around the number that the spec names.
  for (const Status& opened : {open_readiness(request), open_output(request), open_control(request),
                               open_notify(request)}) {
    if (!opened) return opened.error();
  }
  return {};
}

int ProcessChannels::keep(int childs_end) {
  childs_ends_.emplace_back(childs_end);
  return childs_end;
}

Status ProcessChannels::open_readiness(SpawnRequest& request) {
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
  request.descriptors.push_back({keep(pipe[1]), descriptor->descriptor});
  return {};
}

Status ProcessChannels::open_output(SpawnRequest& request) {
  if (!spec().output.capture) {
    if (std::holds_alternative<LogReadiness>(spec().readiness)) {
      return Error{Errc::start_failed, "readiness by log: needs output.capture"};
    }
    request.descriptors.push_back({STDOUT_FILENO, STDOUT_FILENO});
    request.descriptors.push_back({STDERR_FILENO, STDERR_FILENO});
    return {};
  }
  output_ = world_.output.open(launch_.path, spec().output,
                               fill_placeholders(spec().output.file, launch_));
  for (const auto stream : {OutputStream::standard_output, OutputStream::standard_error}) {
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) < 0) return no_descriptor("output pipe");
    UniqueFd reading(pipe[0]);
    const bool is_stdout = stream == OutputStream::standard_output;
    request.descriptors.push_back({keep(pipe[1]), is_stdout ? STDOUT_FILENO : STDERR_FILENO});
    (is_stdout ? stdout_ : stderr_) =
        std::make_unique<OutputPipe>(std::move(reading), launch_.run, stream, output_);
  }
  return {};
}

Status ProcessChannels::open_control(SpawnRequest& request) {
  if (!is_python(spec())) return {};
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) {
    return no_descriptor("control channel");
  }
  UniqueFd ours(sockets[0]);
  const int control = next_target(request);
  request.descriptors.push_back({keep(sockets[1]), control});
  request.environment.set("UNIRUN_CONTROL_FD", std::to_string(control));
  request.environment.set("PYTHONUNBUFFERED", "1");

  stacks_.reset(static_cast<int>(::memfd_create("unirun-stacks", MFD_CLOEXEC)));
  if (!stacks_) return no_descriptor("memfd for stacks");
  const int stacks = next_target(request);
  request.descriptors.push_back({stacks_.get(), stacks});
  request.environment.set("UNIRUN_FAULT_FD", std::to_string(stacks));

  control_ = std::make_unique<ControlChannel>(
      world_.loop, std::move(ours),
      [this](const nlohmann::json& message) { owner_.on_message(message); },
      [this](const std::string& what) {
        world_.bus.publish(launch_.path, Warning{"control channel: " + what + "; it is closed"});
      });
  return {};
}

Status ProcessChannels::open_notify(SpawnRequest& request) {
  const auto* heartbeat = std::get_if<HeartbeatLiveness>(&spec().liveness);
  const bool for_readiness = std::holds_alternative<NotifyReadiness>(spec().readiness);
  if (is_python(spec()) || (!for_readiness && heartbeat == nullptr)) return {};
  auto socket = NotifySocket::open(
      world_.loop, world_.chance.next(),
      [this](const Notification& notification) { owner_.on_notification(notification); });
  if (!socket) return Error{Errc::start_failed, socket.error().message};
  notify_ = std::move(*socket);
  request.environment.set("NOTIFY_SOCKET", notify_->name());
  if (heartbeat != nullptr) {
    const auto timeout = std::chrono::duration_cast<std::chrono::microseconds>(heartbeat->timeout);
    request.environment.set("WATCHDOG_USEC", std::to_string(timeout.count()));
  }
  return {};
}

// ---- While it lives ----

void ProcessChannels::begin(pid_t pid, uid_t user, std::uint64_t launch_number) {
  childs_ends_.clear();
  childs_ends_.shrink_to_fit();
  if (stdout_) stdout_->begin(world_.loop, owner_);
  if (stderr_) stderr_->begin(world_.loop, owner_);
  if (notify_) notify_->accept_from(pid, user, std::to_string(launch_number));
}

void ProcessChannels::belongs_to(RunId run) {
  if (stdout_) stdout_->belongs_to(run);
  if (stderr_) stderr_->belongs_to(run);
}

void ProcessChannels::send(const nlohmann::json& message) {
  if (control_) control_->send(message);
}

bool ProcessChannels::watch_readiness() {
  if (readiness_) {
    readiness_watch_ = world_.loop.watch(readiness_.get(), Interest::readable,
                                         [this](Interest) { on_readiness_descriptor(); });
    return true;
  }
  const auto* log = std::get_if<LogReadiness>(&spec().readiness);
  if (log == nullptr) return false;
  const auto pattern =
      std::make_shared<const LinePattern>(*LinePattern::compile(log->pattern));  // It was fine.
  const auto on_line = [this, pattern](std::string_view line) {
    if (pattern->is_in(line)) owner_.on_said_ready();
  };
  stdout_->on_line(on_line);
  stderr_->on_line(on_line);
  return true;
}

void ProcessChannels::on_readiness_descriptor() {
  char bytes[256];
  const ssize_t count = ::read(readiness_.get(), bytes, sizeof bytes);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count > 0 && std::string_view(bytes, static_cast<std::size_t>(count)).find('\n') !=
                       std::string_view::npos) {
    owner_.on_said_ready();
  } else if (count > 0) {
    return;
  }
  // Ready, or closed without a word; then its start timeout or its end decides.
  readiness_watch_.reset();
  readiness_.reset();
}

void ProcessChannels::stop_watching_readiness() {
  readiness_watch_.reset();
  if (stdout_) stdout_->on_line(nullptr);
  if (stderr_) stderr_->on_line(nullptr);
}

void ProcessChannels::read_messages() {
  if (control_) control_->read();
  if (notify_) notify_->read();
}

// ---- When it is dead ----

void ProcessChannels::read_last_words() {
  read_messages();
  if (readiness_watch_) on_readiness_descriptor();
  if (stdout_) stdout_->drain();
  if (stderr_) stderr_->drain();
}

std::string ProcessChannels::read_stacks() const {
  constexpr std::size_t max_stacks = std::size_t{256} << 10;
  struct stat status {};
  if (!stacks_ || ::fstat(stacks_.get(), &status) < 0 || status.st_size <= 0) return {};
  std::string stacks(std::min(static_cast<std::size_t>(status.st_size), max_stacks), '\0');
  const ssize_t count = ::pread(stacks_.get(), stacks.data(), stacks.size(), 0);
  stacks.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return stacks;
}

std::vector<std::unique_ptr<OutputPipe>> ProcessChannels::take_open_pipes() {
  std::vector<std::unique_ptr<OutputPipe>> open;
  for (auto* pipe : {&stdout_, &stderr_}) {
    if (!*pipe || (*pipe)->ended()) continue;
    (*pipe)->outlive_owner();
    open.push_back(std::move(*pipe));
  }
  return open;
}

}  // namespace unirun
