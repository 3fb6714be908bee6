// The process table, read from /proc: who is whose child, and what stands in an environment.
//
// Without heap and without locks, for the guard is a tiny program; blocks as long as the kernel
// takes, some 10 us a process: not for the loop's thread.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace unirun {

struct ProcessEntry {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  char state = '?';              // As ps(1) shows it: 'Z' is dead and not reaped, 'T' is stopped.
  std::uint64_t start_time = 0;  // Clock ticks since boot.
  bool is_kernel_thread = false;
  bool has_environment = false;  // Memory for one: not before its exec is done, nor while it dies.

  [[nodiscard]] bool is_dead() const { return state == 'Z' || state == 'X'; }
};

// False if there is no such process.
[[nodiscard]] bool read_process(pid_t pid, ProcessEntry& entry);

// How a process that is dying ends, as wait(2) would tell it later; negative while it lives, or
// where that cannot be read. 0 is also what a process shows that may not be looked into.
[[nodiscard]] int status_of_dying(pid_t pid);

// What a look into an environment may show.
enum class Found : std::uint8_t {
  yes,
  no,  // It is not there, is longer than there is room for, or may not be read (another user's).
  unclear,  // The process is in the midst of an exec, or of its death: look again.
};

// Finds `name` in the environment that `pid` was started with.
[[nodiscard]] Found read_environment(pid_t pid, const char* name, char* value, std::size_t size);

// Walks the pids of all processes.
class ProcessWalk {
 public:
  ProcessWalk();
  ~ProcessWalk();
  ProcessWalk(const ProcessWalk&) = delete;
  ProcessWalk& operator=(const ProcessWalk&) = delete;

  // The next pid; 0 at the end.
  [[nodiscard]] pid_t next();

 private:
  int directory_ = -1;
  long filled_ = 0;
  long offset_ = 0;
  alignas(8) char buffer_[4096];
};

}  // namespace unirun
