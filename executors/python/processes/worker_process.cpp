#include "executors/python/processes/worker_process.h"

#include "executors/python/python.h"
// Python.h first.

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

extern char** environ;

namespace unirun::python {
namespace {

#ifndef P_PIDFD
constexpr auto P_PIDFD = static_cast<idtype_t>(3);
#endif

// One for each version of Python, as the library is.
std::string program_name() {
  return fmt::format("unirun-python-worker-{}.{}", PY_MAJOR_VERSION, PY_MINOR_VERSION);
}

// Where the code stands that calls this: the program, or a library.
std::string own_folder() {
  Dl_info own{};
  if (::dladdr(reinterpret_cast<const void*>(&own_folder), &own) == 0) return ".";
  Dl_info program{};
  const auto* entry = reinterpret_cast<const void*>(::getauxval(AT_ENTRY));
  const bool in_program = ::dladdr(entry, &program) != 0 && program.dli_fbase == own.dli_fbase;
  char* const path = ::realpath(in_program ? "/proc/self/exe" : own.dli_fname, nullptr);
  const std::string file = path != nullptr ? path : own.dli_fname;
  std::free(path);
  return file.substr(0, file.rfind('/'));
}

std::vector<std::string> places_of_worker() {
  std::vector<std::string> places;
  if (const char* folder = std::getenv("UNIRUN_LIBEXEC"))
    places.push_back(fmt::format("{}/{}", folder, program_name()));
  const std::string folder = own_folder();
  for (const char* below : {"", "/libexec", "/../libexec/unirun"})
    places.push_back(fmt::format("{}{}/{}", folder, below, program_name()));
  places.push_back(fmt::format("{}/{}", UNIRUN_PYTHON_LIBEXEC, program_name()));
  return places;
}

// What posix_spawn() is told, and its end.
class SpawnPlan {
 public:
  // The sockets are not among those that the process is to have: see SocketPair.
  SpawnPlan(int channel, int lines) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, channel, worker_socket);
    ::posix_spawn_file_actions_adddup2(&actions_, lines, lines_socket);
#if __GLIBC_PREREQ(2, 34)
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, lines_socket + 1);
#endif
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    // A group of its own: Ctrl-C at a terminal is for its owner, and what it starts ends with it.
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // 0, or what was wrong.
  [[nodiscard]] int carry_out(const std::vector<std::string>& command, pid_t& pid) {
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    return ::posix_spawn(&pid, arguments[0], &actions_, &attributes_, arguments.data(), environ);
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

// Two ends of a socket, high enough to be in nobody's way where a process is given its descriptors.
struct SocketPair {
  explicit SocketPair(int type) {
    std::array<int, 2> sockets{};
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sockets.data()) != 0) return;
    ours = sockets[0];
    theirs = ::fcntl(sockets[1], F_DUPFD_CLOEXEC, lines_socket + 1);
    ::close(sockets[1]);
  }
  ~SocketPair() {
    if (ours >= 0) ::close(ours);
    if (theirs >= 0) ::close(theirs);
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;

  int ours = -1;
  int theirs = -1;
};

Error cannot_start(const std::string& program, int error_number) {
  return {.code = Errc::unsupported,
          .message = fmt::format("no worker process can be had: {}: {}", program,
                                 std::strerror(error_number))};
}

std::string end_of(const siginfo_t& status) {
  if (status.si_code == CLD_EXITED) return fmt::format("ended with exit code {}", status.si_status);
  return fmt::format("was ended by signal {} ({})", status.si_status,
                     ::strsignal(status.si_status));
}

}  // namespace

Result<std::vector<std::string>> worker_command(const std::string& program,
                                                const std::vector<std::string>& host) {
  if (program.empty() && !host.empty()) return host;
  const auto places = program.empty() ? places_of_worker() : std::vector{program};
  for (const std::string& place : places) {
    if (::access(place.c_str(), X_OK) == 0) return std::vector{place};
  }
  return Error{
      .code = Errc::unsupported,
      .message = fmt::format("the program of worker processes, {}, is not there; looked at "
                             "{}: set UNIRUN_LIBEXEC to the folder it is in, or "
                             "Config::worker_program to its path",
                             program_name(), fmt::join(places, ", "))};
}

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::start(EventLoop& loop,
                                                            CallbackThreads& threads,
                                                            const std::vector<std::string>& command,
                                                            OnEnd on_end) {
  SocketPair channel(SOCK_STREAM);
  SocketPair lines(SOCK_SEQPACKET);
  if (channel.theirs < 0 || lines.theirs < 0) return cannot_start(command.front(), errno);
  pid_t pid = 0;
  const int failed = SpawnPlan(channel.theirs, lines.theirs).carry_out(command, pid);
  if (failed != 0) return cannot_start(command.front(), failed);
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) {
    const int error_number = errno;
    ::kill(-pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return cannot_start("pidfd_open", error_number);
  }
  return std::unique_ptr<WorkerProcess>(new WorkerProcess(
      loop, threads, pid, pidfd, {std::exchange(channel.ours, -1), std::exchange(lines.ours, -1)},
      std::move(on_end)));
}

WorkerProcess::WorkerProcess(EventLoop& loop, CallbackThreads& threads, pid_t pid, int pidfd,
                             Sockets sockets, OnEnd on_end)
    : loop_(loop),
      pid_(pid),
      pidfd_(pidfd),
      on_end_(std::move(on_end)),
      channel_(loop, sockets.channel,
               {.on_question = [this](std::uint64_t id,
                                      Question question) { desk_.take(id, std::move(question)); },
                // Without it the process is of no use, if it is one any more.
                .on_closed = [this] { signal(SIGKILL); }}),
      desk_(loop, threads, sockets.lines, [this](std::uint64_t id, Result<Value> outcome) {
        channel_.answer(id, std::move(outcome));
      }) {
  death_ = loop_.watch(pidfd_, Interest::readable, [this](Interest) { on_died(); });
}

WorkerProcess::~WorkerProcess() {
  death_.reset();
  if (pidfd_ < 0) return;
  signal(SIGKILL);
  siginfo_t status{};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_), &status, WEXITED) != 0 && errno == EINTR) {
  }
  ::close(pidfd_);
}

void WorkerProcess::ask(std::string word, Value body, MessageChannel::OnAnswer on_answer) {
  channel_.ask(std::move(word), std::move(body), std::move(on_answer));
}

// While nobody has waited for it, its pid and its group are its own.
void WorkerProcess::signal(int number) {
  if (pidfd_ < 0) return;
  if (::kill(-pid_, number) != 0) ::kill(pid_, number);
}

void WorkerProcess::on_died() {
  death_.reset();
  channel_.read();  // What it said last.
  siginfo_t status{};
  const bool is_known =
      ::waitid(P_PIDFD, static_cast<id_t>(pidfd_), &status, WEXITED | WNOHANG) == 0 &&
      status.si_pid == pid_;
  ::close(std::exchange(pidfd_, -1));
  desk_.end();
  channel_.end({.code = Errc::worker_lost,
                .message = fmt::format("its worker process {} {}", pid_,
                                       is_known ? end_of(status) : "has ended")});
  const OnEnd on_end = std::move(on_end_);
  on_end();
}

}  // namespace unirun::python
