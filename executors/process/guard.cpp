#include "executors/process/guard.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "executors/process/extermination.h"
#include "executors/process/host_mark.h"

namespace unirun {
namespace {

constexpr const char* guard_name = "unirun-guard";

// What guard_main.cpp is told.
constexpr char goodbye = 'g';
constexpr char nothing_left = 'n';

// Of the program, or of the shared library (a Python module) that this code was linked into.
std::string own_folder() {
  Dl_info own{};
  if (::dladdr(reinterpret_cast<const void*>(&own_folder), &own) == 0) return ".";
  // The program's own name is what it was called by, "unirun" if it was found through PATH.
  Dl_info program{};
  const auto* entry = reinterpret_cast<const void*>(::getauxval(AT_ENTRY));
  const bool in_program = ::dladdr(entry, &program) != 0 && program.dli_fbase == own.dli_fbase;
  char* path = ::realpath(in_program ? "/proc/self/exe" : own.dli_fname, nullptr);
  const std::string file = path != nullptr ? path : own.dli_fname;
  std::free(path);
  return file.substr(0, file.rfind('/'));
}

std::vector<std::string> places_of(const std::string& program) {
  if (!program.empty()) return {program};
  std::vector<std::string> places;
  if (const char* folder = std::getenv("UNIRUN_LIBEXEC")) {
    places.push_back(fmt::format("{}/{}", folder, guard_name));
  }
  const std::string folder = own_folder();
  for (const char* below : {"", "/libexec", "/../libexec/unirun"}) {
    places.push_back(fmt::format("{}{}/{}", folder, below, guard_name));
  }
#ifdef UNIRUN_GUARD_BUILD_PATH
  places.emplace_back(UNIRUN_GUARD_BUILD_PATH);
#endif
  return places;
}

class LeftBehind final : public ProcessSet {
 public:
  [[nodiscard]] Found contains(pid_t pid) const override {
    char text[HostMark::max_text];
    const Found found = read_environment(pid, host_mark_variable, text, sizeof text);
    if (found != Found::yes) return found;
    HostMark mark;
    const bool left_behind = HostMark::parse(text, mark) && mark.user == user_ &&
                             mark.pid_namespace == pid_namespace_ && mark.is_dead();
    return left_behind ? Found::yes : Found::no;
  }

 private:
  const uid_t user_ = ::geteuid();
  const std::uint64_t pid_namespace_ = own_pid_namespace();
};

}  // namespace

Guard::Guard(EventLoop& loop, EventBus& bus, Spawner& spawner, Children& children, std::string mark,
             const std::string& program)
    : loop_(loop),
      bus_(bus),
      spawner_(spawner),
      children_(children),
      mark_(std::move(mark)),
      places_(places_of(program)) {}

Guard::~Guard() {
  loop_.cancel_timer(retry_);
  death_.reset();
  if (!process_.pidfd) return;
  if (goodbye_) say(goodbye);
  // Bounded: a guard that is stopped, or busy with what cannot be killed, must not hold us up.
  pollfd death{process_.pidfd.get(), POLLIN, 0};
  constexpr int patience_ms = 2000;
  while (::poll(&death, 1, patience_ms) < 0 && errno == EINTR) {
  }
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(process_.pid), &ended, WEXITED | WNOHANG);
  children_.erase(process_.pid);
}

Status Guard::start() {
  std::string program;
  for (const std::string& place : places_) {
    if (::access(place.c_str(), X_OK) == 0) {
      program = place;
      break;
    }
  }
  if (program.empty()) {
    return Error{Errc::start_failed,
                 fmt::format("the guard '{}' is not there; looked at {}; set UNIRUN_LIBEXEC to "
                             "the folder it is in",
                             guard_name, fmt::join(places_, ", "))};
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return Error::from_errno(errno, "guard: pipe");
  const UniqueFd told(ends[0]);
  UniqueFd telling(ends[1]);
  const UniqueFd host(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!host) return Error::from_errno(errno, "guard: pidfd_open");

  SpawnRequest request;
  request.argv = {program, mark_};
  request.cwd.push_back('/');
  request.descriptors = {{host.get(), 3}, {told.get(), 4}};
  request.new_session = true;
  request.death_signal = false;
  // The host's own stdout and stderr would keep a pipe open that somebody reads to its end.
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  request.descriptors.push_back({null.get(), 1});
  request.descriptors.push_back({null.get(), 2});
  auto process = spawner_.spawn(request);
  if (!process) return Error{Errc::start_failed, fmt::format("guard: {}", process.error().message)};
  process_ = std::move(*process);
  goodbye_ = std::move(telling);
  children_.insert(process_.pid);
  death_ = loop_.watch(process_.pidfd.get(), Interest::readable, [this](Interest) { on_died(); });
  return {};
}

void Guard::dismiss() {
  death_.reset();
  loop_.cancel_timer(std::exchange(retry_, TimerId::none));
  if (goodbye_) say(nothing_left);
}

void Guard::say(char word) {
  [[maybe_unused]] const ssize_t told = ::write(goodbye_.get(), &word, 1);
  goodbye_.reset();
}

void Guard::on_died() {
  death_.reset();
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(process_.pid), &ended, WEXITED | WNOHANG);
  children_.erase(process_.pid);
  process_ = {};
  bus_.publish({}, Warning{"the guard process has ended; it is started again"});
  // Not at once: whatever ends it may end the next one too, and a loop must not spin.
  retry_ = loop_.start_timer(loop_.clock().now() + std::chrono::milliseconds{100}, [this] {
    const Status started = start();
    if (started) return;
    bus_.publish({}, Warning{fmt::format("{}; if the host is killed now, processes may be left "
                                         "behind",
                                         started.error().message)});
  });
}

std::uint64_t finish_leftovers() { return exterminate(LeftBehind{}); }

}  // namespace unirun
