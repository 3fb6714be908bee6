#include "executors/process/spawner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace unirun {
namespace {

constexpr std::size_t guard_page = 4096;
constexpr std::size_t stack_size = std::size_t{32} << 10;

constexpr std::array<std::pair<std::string_view, int>, 16> resources{{
    {"as", RLIMIT_AS},
    {"core", RLIMIT_CORE},
    {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},
    {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK},
    {"msgqueue", RLIMIT_MSGQUEUE},
    {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},
    {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},
    {"rttime", RLIMIT_RTTIME},
    {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
}};

std::string_view resource_name(int resource) {
  for (const auto& [name, number] : resources) {
    if (number == resource) return name;
  }
  return "?";
}

// A handler must not run in a child that shares our memory.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

std::vector<std::string> candidates(const std::string& program, std::string_view path) {
  if (program.find('/') != std::string::npos) return {program};
  std::vector<std::string> places;
  while (true) {
    const auto colon = path.find(':');
    const std::string_view folder = path.substr(0, colon);
    // An empty entry of PATH is the current directory, says POSIX.
    places.push_back(folder.empty() ? "./" + program : fmt::format("{}/{}", folder, program));
    if (colon == std::string_view::npos) return places;
    path.remove_prefix(colon + 1);
  }
}

std::string_view search_path(const Environment& environment) {
  return environment.is_set("PATH") ? environment.get("PATH") : "/usr/local/bin:/usr/bin:/bin";
}

std::vector<const char*> pointers(const std::vector<std::string>& texts) {
  std::vector<const char*> result;
  result.reserve(texts.size() + 1);
  for (const std::string& text : texts) result.push_back(text.c_str());
  result.push_back(nullptr);
  return result;
}

std::string limit_text(rlim_t limit) {
  return limit == RLIM_INFINITY ? "unlimited" : std::to_string(limit);
}

std::string exec_failure(const ChildSetup& setup, const SpawnRequest& request) {
  const std::string& program = request.argv.front();
  std::string text = fmt::format("exec '{}': {}", program, std::strerror(setup.error_number));
  const bool has_place = program.find('/') != std::string::npos;
  if (!has_place && (setup.error_number == ENOENT || setup.error_number == EACCES)) {
    text += fmt::format("; looked in PATH={}", search_path(request.environment));
  } else if (setup.error_number == ENOENT && ::access(program.c_str(), F_OK) == 0) {
    text += "; the file is there, but the interpreter that it names (#!, or its loader) is not";
  } else if (setup.error_number == EACCES) {
    text += "; it must be a file with execute permission for the service's user";
  } else if (setup.error_number == ENOEXEC) {
    text += "; a script must begin with a line like #!/bin/sh";
  } else if (setup.error_number == ENOENT && program.front() != '/' && !request.cwd.empty()) {
    text += fmt::format("; it is sought from cwd '{}'", request.cwd);
  }
  return text;
}

std::string describe_failure(const ChildSetup& setup, const SpawnRequest& request) {
  const char* error = std::strerror(setup.error_number);
  switch (setup.failed_step) {
    case SetupStep::none: break;
    case SetupStep::own_table: return fmt::format("descriptor table: {}", error);
    case SetupStep::session: return fmt::format("session: {}", error);
    case SetupStep::process_group: return fmt::format("process group: {}", error);
    case SetupStep::rlimit: {
      const RlimitSetting& setting = request.rlimits[setup.failed_index];
      return fmt::format("rlimit '{}' (soft {}, hard {}): {}", resource_name(setting.resource),
                         limit_text(setting.limit.rlim_cur), limit_text(setting.limit.rlim_max),
                         error);
    }
    case SetupStep::nice: return fmt::format("nice {}: {}", *request.nice, error);
    case SetupStep::groups:
      return fmt::format("groups: {}; only root may change supplementary groups", error);
    case SetupStep::group: return fmt::format("group {}: {}", *request.credentials.group, error);
    case SetupStep::user:
      return fmt::format("user {}: {}; only root may run a service as another user",
                         *request.credentials.user, error);
    case SetupStep::cwd: return fmt::format("cwd '{}': {}", request.cwd, error);
    case SetupStep::no_new_privs: return fmt::format("no_new_privs: {}", error);
    case SetupStep::descriptors: return fmt::format("descriptors: {}", error);
    case SetupStep::death_signal: return fmt::format("death signal: {}", error);
    case SetupStep::exec: return exec_failure(setup, request);
  }
  return error;
}

void prepare_credentials(ChildSetup& setup, const Credentials& credentials) {
  if (credentials.groups) {
    setup.groups = credentials.groups->data();
    setup.group_count = credentials.groups->size();
    static constexpr gid_t nothing = 0;  // An empty list is a list, not "keep".
    if (setup.groups == nullptr) setup.groups = &nothing;
  }
  if (credentials.group) {
    setup.set_group = true;
    setup.group = *credentials.group;
  }
  if (credentials.user) {
    setup.set_user = true;
    setup.user = *credentials.user;
  }
}

void prepare_attributes(ChildSetup& setup, const SpawnRequest& request) {
  setup.new_session = request.new_session;
  setup.process_group = request.process_group;
  setup.rlimits = request.rlimits.data();
  setup.rlimit_count = request.rlimits.size();
  setup.set_nice = request.nice.has_value();
  setup.nice = request.nice.value_or(0);
  setup.set_umask = request.umask.has_value();
  setup.umask = request.umask.value_or(0);
  setup.cwd = request.cwd.empty() ? nullptr : request.cwd.c_str();
  setup.no_new_privs = request.no_new_privs;
  setup.parent_pid = ::getpid();
  setup.death_signal = request.death_signal ? SIGKILL : 0;
}

// Of one that did not come as far as its exec.
void reap(pid_t pid) {
  siginfo_t ended{};
  while (::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED) < 0 && errno == EINTR) {
  }
}

std::vector<DescriptorMove> plan_descriptors(const SpawnRequest& request, int null) {
  std::vector<DescriptorMove> moves = request.descriptors;
  const bool has_stdin = std::any_of(moves.begin(), moves.end(),
                                     [](const DescriptorMove& move) { return move.target == 0; });
  if (!has_stdin) moves.push_back({null, 0});
  return moves;
}

int first_free_descriptor(const std::vector<DescriptorMove>& moves) {
  int last = STDERR_FILENO;
  for (const DescriptorMove& move : moves) last = std::max(last, move.target);
  return last + 1;
}

}  // namespace

Spawner::Spawner() {
  void* memory = ::mmap(nullptr, guard_page + stack_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  UNIRUN_REQUIRE(memory != MAP_FAILED);
  ::mprotect(memory, guard_page, PROT_NONE);
  stack_ = memory;
  for (int signal_number = 1; signal_number < 32; ++signal_number) {
    struct sigaction action {};
    if (::sigaction(signal_number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) {
      ignored_signals_ |= std::uint64_t{1} << (signal_number - 1);
    }
  }
  // Every program that writes to sockets ignores this one sooner or later; children expect it.
  ignored_signals_ |= std::uint64_t{1} << (SIGPIPE - 1);
}

Spawner::~Spawner() { ::munmap(stack_, guard_page + stack_size); }

pid_t Spawner::clone(ChildSetup& setup, std::vector<DescriptorMove> moves, UniqueFd& pidfd) {
  setup.shared_below = may_share_table_ && pad_.lay_out(moves) ? pad_.end() : 0;
  setup.descriptors = moves.data();
  setup.descriptor_count = moves.size();
  int descriptor = -1;
  pid_t pid = 0;
  {
    const AllSignalsBlocked blocked;
    pid = clone_with_shared_memory(setup, static_cast<char*>(stack_) + guard_page, stack_size,
                                   &descriptor);
  }
  pad_.clear();
  pidfd.reset(descriptor);
  return pid;
}

Result<SpawnedProcess> Spawner::spawn(const SpawnRequest& request) {
  UNIRUN_REQUIRE(!request.argv.empty());
  const std::vector<DescriptorMove> moves = plan_descriptors(request, pad_.null());
  const std::vector<std::string> places =
      candidates(request.argv.front(), search_path(request.environment));
  const std::vector<const char*> paths = pointers(places);
  const std::vector<const char*> argv = pointers(request.argv);
  std::vector<const char*> environment = request.environment.pointers();
  std::string listen_pid = "LISTEN_PID=0000000000";
  if (request.listen_pid) environment.insert(environment.end() - 1, listen_pid.c_str());

  ChildSetup setup;
  prepare_attributes(setup, request);
  prepare_credentials(setup, request.credentials);
  setup.first_free_descriptor = first_free_descriptor(moves);
  setup.own_pid_slot = request.listen_pid ? listen_pid.data() + listen_pid.find('=') + 1 : nullptr;
  setup.signals_to_reset = ignored_signals_;
  setup.candidates = paths.data();
  setup.argv = argv.data();
  setup.environment = environment.data();

  UniqueFd pidfd;
  const pid_t pid = clone(setup, moves, pidfd);
  if (setup.failed_step == SetupStep::own_table) {
    reap(pid);
    may_share_table_ = false;
    return spawn(request);
  }
  if (pid < 0) {
    const char* remedy = pid == -EMFILE   ? "; raise the hard limit of open files (ulimit -Hn)"
                         : pid == -EAGAIN ? "; a limit on processes is reached (ulimit -u, "
                                            "pids.max of the cgroup)"
                                          : "";
    return Error{Errc::start_failed, fmt::format("clone: {}{}", std::strerror(-pid), remedy)};
  }
  if (setup.failed_step == SetupStep::none) return SpawnedProcess{pid, std::move(pidfd)};
  reap(pid);
  return Error{Errc::start_failed, describe_failure(setup, request)};
}

std::optional<int> rlimit_resource(std::string_view name) {
  for (const auto& [word, number] : resources) {
    if (word == name) return number;
  }
  return std::nullopt;
}

}  // namespace unirun
