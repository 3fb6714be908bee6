// unirun-guard: outlives its host by some milliseconds, to leave nothing behind.
//
//   unirun-guard MARK        descriptor 3: a pidfd of the host; 4: a pipe from it
//
// It sleeps until the host is gone, or says goodbye (a byte on the pipe), then kills every process
// whose environment carries MARK until none is left, and ends. A host that has looked by itself and
// found nothing left says so ('n'): then it ends at once. Started by guard.cpp, in a session of its
// own. Static and small: it must not fall to whatever felled the host.

#include <link.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "executors/process/extermination.h"
#include "executors/process/host_mark.h"

namespace {

constexpr int host_pidfd = 3;
constexpr int goodbye_pipe = 4;

class Marked final : public unirun::ProcessSet {
 public:
  explicit Marked(const char* mark) : mark_(mark) {}

  [[nodiscard]] unirun::Found contains(pid_t pid) const override {
    using unirun::Found;
    if (pid == ::getpid()) return Found::no;
    char mark[unirun::HostMark::max_text];
    const Found found =
        unirun::read_environment(pid, unirun::host_mark_variable, mark, sizeof mark);
    if (found != Found::yes) return found;
    return std::strcmp(mark, mark_) == 0 ? Found::yes : Found::no;
  }

 private:
  const char* mark_;
};

// Ends for SIGKILL only: whoever signals a whole session or all of a user's processes means us too.
void ignore_signals() {
  for (const int signal_number : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1,
                                  SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGIO}) {
    std::signal(signal_number, SIG_IGN);
  }
}

// What starting took is not needed while we sleep: code and constants come back by page faults.
int drop_clean_pages(dl_phdr_info* program, std::size_t, void*) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < program->dlpi_phnum; ++i) {
    const auto& segment = program->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = program->dlpi_addr + segment.p_vaddr;
    const std::uintptr_t from = (begin + page - 1) & ~(page - 1);
    const std::uintptr_t to = (begin + segment.p_memsz) & ~(page - 1);
    if (from < to) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
  }
  return 0;
}

void wait_for_the_end_of_the_host() {
  pollfd descriptors[] = {{host_pidfd, POLLIN, 0}, {goodbye_pipe, POLLIN, 0}};
  while (::poll(descriptors, 2, -1) < 0 && errno == EINTR) {
  }
}

bool nothing_is_left() {
  pollfd goodbye{goodbye_pipe, POLLIN, 0};
  char byte = 0;
  return ::poll(&goodbye, 1, 0) == 1 && ::read(goodbye_pipe, &byte, 1) == 1 && byte == 'n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: unirun-guard MARK (started by unirun, not by hand)\n", stderr);
    return 2;
  }
  ignore_signals();
  ::prctl(PR_SET_NAME, "unirun-guard");
  ::dl_iterate_phdr(drop_clean_pages, nullptr);
  wait_for_the_end_of_the_host();
  if (!nothing_is_left()) unirun::exterminate(Marked(argv[1]));
  return 0;
}
