// Spawner starts processes without fork: a vfork-style clone with a stack of its own, all set-up by
// raw system calls between clone and exec (child_setup.h). The cost does not depend on the size of
// this process, nor on how many services run in it. What fails, fails by name: "exec
// 'redis-serverr': No such file or directory; looked in PATH=/usr/bin:/bin".
//
// Thread: one, and one that lives as long as the children are to (their death signal hangs on it).
// The thread waits for the exec: some 0.1 ms.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "executors/process/child_setup.h"
#include "executors/process/credentials.h"
#include "executors/process/environment.h"
#include "executors/process/launch_pad.h"
#include "executors/process/unique_fd.h"
#include "framework/result.h"

namespace unirun {

struct SpawnRequest {
  // argv[0] without a slash is looked up in the PATH of `environment`, as execvp() does.
  std::vector<std::string> argv;
  Environment environment;
  std::string cwd;  // Empty: keep.

  // Where the child's descriptors come from; stdin is /dev/null unless named. All else is closed.
  // REQUIRES: each target once.
  std::vector<DescriptorMove> descriptors;

  Credentials credentials;
  std::optional<mode_t> umask;
  std::vector<RlimitSetting> rlimits;
  std::optional<int> nice;
  bool no_new_privs = false;
  bool new_session = false;
  int process_group = 0;     // 0: a group of its own.
  bool death_signal = true;  // SIGKILL when the spawning thread has ended.
  bool listen_pid = false;   // Sets LISTEN_PID to the child's pid, for LISTEN_FDS.
};

struct SpawnedProcess {
  pid_t pid = 0;
  UniqueFd pidfd;  // Readable once the process is dead.
};

class Spawner {
 public:
  // Remembers which signals this process ignores: call it before changing them.
  Spawner();
  ~Spawner();
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;

  // Errors: Errc::start_failed with the step, its errno in words and what would be right; nothing
  // runs then.
  [[nodiscard]] Result<SpawnedProcess> spawn(const SpawnRequest& request);

 private:
  pid_t clone(ChildSetup& setup, std::vector<DescriptorMove> moves, UniqueFd& pidfd);

  void* stack_ = nullptr;
  LaunchPad pad_;
  bool may_share_table_ = true;  // Until a kernel before 5.9 shows that it cannot.
  std::uint64_t ignored_signals_ = 0;
};

// The RLIMIT_ number of a name as getrlimit(2) has it, in small letters without its prefix
// ("nofile"); nothing if there is none.
[[nodiscard]] std::optional<int> rlimit_resource(std::string_view name);

}  // namespace unirun
