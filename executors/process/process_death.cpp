#include "executors/process/process_death.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "executors/process/process_table.h"

namespace unirun {
namespace {

bool ran_out_of_memory(RunWorld& world, const ProcessEnd& end, const DeathTraits& traits) {
  return end.by_signal && end.status == SIGKILL && !traits.kill_requested && world.oom.has_grown();
}

// A spawned process begins with the peak of its parent (exec_mmap() in the kernel keeps that of the
// memory it leaves): only what lies above ours is known to be its own. A forked one begins anew.
// What a worker says of itself is exact, but only those say it that end by an exception.
std::optional<std::uint64_t> peak_of(RunWorld& world, const rusage& usage, bool forked) {
  if (usage.ru_maxrss > world.own_peak_kib) {
    rusage own{};
    ::getrusage(RUSAGE_SELF, &own);
    world.own_peak_kib = own.ru_maxrss;
  }
  if (!forked && usage.ru_maxrss <= world.own_peak_kib) return std::nullopt;
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace

ProcessEnd reap(RunWorld& world, pid_t pid, const DeathTraits& traits) {
  ProcessEnd end;
  siginfo_t info{};
  rusage usage{};
  // glibc's waitid() has no place for the rusage that the kernel gives.
  long result = 0;
  do {
    result = ::syscall(SYS_waitid, P_PID, pid, &info, WEXITED, &usage);
  } while (result < 0 && errno == EINTR);
  if (result < 0) {
    // Somebody else in this process waits for all children, against every rule.
    end.status = -1;
    return end;
  }
  end.by_signal = info.si_code != CLD_EXITED;
  end.core_dumped = info.si_code == CLD_DUMPED;
  end.status = info.si_status;
  end.out_of_memory = ran_out_of_memory(world, end, traits);
  end.peak_rss = peak_of(world, usage, traits.forked);
  return end;
}

std::optional<ProcessEnd> end_of_dying(RunWorld& world, pid_t pid, const DeathTraits& traits) {
  const int status = status_of_dying(pid);
  if (status <= 0) return std::nullopt;
  ProcessEnd end;
  end.by_signal = WIFSIGNALED(status);
  end.core_dumped = end.by_signal && WCOREDUMP(status);
  end.status = end.by_signal ? WTERMSIG(status) : WEXITSTATUS(status);
  end.out_of_memory = ran_out_of_memory(world, end, traits);
  return end;
}

}  // namespace unirun
