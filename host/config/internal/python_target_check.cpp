#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "framework/clock.h"
#include "framework/result.h"
#include "host/config/internal/embedded.h"
#include "host/config/internal/schema_faults.h"
#include "host/config/internal/target_check.h"

namespace unirun {
namespace {

using nlohmann::json;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close_now(); }
  [[nodiscard]] int get() const { return fd_; }
  void close_now() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

// A file in memory: unlike a pipe it never fills up, and nobody dies of writing to it.
int file_with(const std::string& text) {
  const int fd = memfd_create("unirun-targets", MFD_CLOEXEC);
  if (fd < 0) return fd;
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t count = write(fd, text.data() + written, text.size() - written);
    if (count <= 0) break;
    written += static_cast<std::size_t>(count);
  }
  lseek(fd, 0, SEEK_SET);
  return fd;
}

// In a process group of its own, so that a timeout ends its forks too.
Result<pid_t> spawn(const std::string& interpreter, int input, int output) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, input, 0);
  posix_spawn_file_actions_adddup2(&files, output, 1);
  posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  std::string program = interpreter, flag = "-c", script(embedded::import_targets_py);
  char* const argv[] = {program.data(), flag.data(), script.data(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, interpreter.c_str(), &files, &attributes, argv, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return Error::from_errno(error, "start " + interpreter);
  return pid;
}

// All that comes until the end, or nothing once the time is up.
std::optional<std::string> read_until(int fd, Instant deadline, const Clock& clock) {
  std::string text;
  std::vector<char> chunk(1 << 16);
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock.now());
    if (left.count() <= 0) return std::nullopt;
    pollfd waiting{fd, POLLIN, 0};
    const int ready =
        poll(&waiting, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
    if (ready < 0 && errno != EINTR) return std::nullopt;
    if (ready <= 0) continue;
    const ssize_t count = read(fd, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(count));
  }
}

// What import_targets.py says of each entry.
Result<std::vector<std::string>> ask(const std::string& interpreter, const json& entries,
                                     Duration timeout) {
  const SystemClock clock;
  const Instant deadline = clock.now() + timeout;
  Descriptor input(file_with(entries.dump(-1, ' ', false, json::error_handler_t::replace)));
  int ends[2];
  if (input.get() < 0 || pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  Descriptor reading(ends[0]), writing(ends[1]);
  const auto pid = spawn(interpreter, input.get(), writing.get());
  if (!pid) return pid.error();
  writing.close_now();
  const auto answer = read_until(reading.get(), deadline, clock);
  if (!answer) kill(-*pid, SIGKILL);
  int status = 0;
  while (waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!answer) {
    return Error{Errc::timeout,
                 fmt::format("the imports took longer than {}", describe_duration(timeout))};
  }
  const json told = json::parse(*answer, nullptr, /*allow_exceptions=*/false);
  if (!told.is_array() || told.size() != entries.size()) {
    return Error{Errc::unsupported,
                 fmt::format("{} did not do its imports; expected CPython 3.8 or later",
                             describe_value(interpreter))};
  }
  std::vector<std::string> faults;
  for (const json& fault : told)
    faults.push_back(fault.is_string() ? fault.get<std::string>() : "");
  return faults;
}

// One interpreter's targets, each once, with the places that name it.
struct Questions {
  json entries = json::array();
  std::vector<std::vector<std::string>> pointers;
  std::map<std::tuple<std::string, std::string, std::map<std::string, std::string>, bool, bool>,
           std::size_t>
      known;

  void add(const WrittenWorker& worker, const PythonTarget& target) {
    const ServiceSpec& service = *worker.service;
    const auto [entry, is_new] = known.try_emplace(
        {target.target, service.cwd, service.env, worker.on_loop, worker.in_host}, entries.size());
    if (is_new) {
      entries.push_back({{"target", target.target},
                         {"cwd", service.cwd},
                         {"env", service.env},
                         {"on_loop", worker.on_loop},
                         {"host", worker.in_host ? json(UNIRUN_VERSION) : json()}});
      pointers.emplace_back();
    }
    pointers[entry->second].push_back(worker.pointer + "/python");
  }
};

}  // namespace

void check_python_targets(const SpecReader& reader, Duration timeout, FaultList& faults) {
  std::map<std::string, Questions> by_interpreter;
  for (const WrittenWorker& worker : reader.workers) {
    const auto* target = std::get_if<PythonTarget>(&worker.service->target);
    if (target == nullptr || faults.is_misshapen(worker.pointer + "/python")) continue;
    by_interpreter[target->interpreter].add(worker, *target);
  }
  const std::string path = reader.services().variable("PATH").value_or("");
  for (const auto& [interpreter, questions] : by_interpreter) {
    if (find_program(interpreter, path, "").empty()) continue;  // Told by check_targets().
    const auto told = ask(interpreter, questions.entries, timeout);
    for (std::size_t i = 0; i < questions.pointers.size(); ++i) {
      const std::string why = told ? (*told)[i] : told.error().message;
      if (why.empty()) continue;
      const std::string target = describe_value(questions.entries[i].at("target"));
      for (const std::string& pointer : questions.pointers[i]) {
        faults.add(pointer, fmt::format("{} cannot be had from {}: {}", target, interpreter, why));
      }
    }
  }
}

}  // namespace unirun
