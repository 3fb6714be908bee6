#include "executors/process/extermination.h"

#include <signal.h>
#include <time.h>

namespace unirun {
namespace {

struct Pass {
  std::uint64_t living = 0;   // Members of the set that are not dead.
  std::uint64_t moving = 0;   // Of those, the ones that were not stopped yet.
  std::uint64_t unclear = 0;  // Perhaps members.
};

// Sends `signal_number` to every member.
Pass send_to_all(const ProcessSet& set, int signal_number) {
  Pass pass;
  ProcessWalk walk;
  while (const pid_t pid = walk.next()) {
    const Found member = set.contains(pid);
    if (member == Found::unclear) ++pass.unclear;
    if (member != Found::yes) continue;
    // Of members only: the kernel takes longest for this.
    ProcessEntry entry;
    if (!read_process(pid, entry) || entry.is_dead()) continue;
    ++pass.living;
    if (entry.state != 'T') ++pass.moving;
    ::kill(pid, signal_number);
  }
  return pass;
}

}  // namespace

void wait_for_the_dying() {
  const timespec pause{0, 1'000'000};
  ::nanosleep(&pause, nullptr);
}

std::uint64_t exterminate(const ProcessSet& set) {
  constexpr int max_stopping_passes = 64;  // One that cannot be stopped (traced, in the disk's
                                           // hands) must not keep the others alive.
  constexpr int max_rounds = 1000;         // Nor may one that cannot be killed keep us for ever.
  constexpr int max_unclear_rounds = 100;  // Nor one that never comes out of its exec.
  std::uint64_t killed = 0;
  int clean = 0;
  int unclear = 0;
  for (int round = 0; round < max_rounds && clean < 2; ++round) {
    Pass pass = send_to_all(set, SIGSTOP);
    if (pass.living == 0) {
      if (pass.unclear > 0 && unclear++ < max_unclear_rounds) {
        wait_for_the_dying();
      } else {
        ++clean;
      }
      continue;
    }
    clean = 0;
    for (int i = 0; i < max_stopping_passes && pass.moving > 0; ++i) {
      pass = send_to_all(set, SIGSTOP);
    }
    const Pass killing = send_to_all(set, SIGKILL);
    if (round == 0 || killing.living > killed) killed = killing.living;
    wait_for_the_dying();
  }
  return killed;
}

}  // namespace unirun
