#include "executors/process/host_mark.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>

#include "executors/process/process_table.h"

namespace unirun {

std::uint64_t own_pid_namespace() {
  struct stat status {};
  return ::stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

HostMark HostMark::of_this_process(std::uint64_t chance) {
  HostMark mark;
  mark.pid = ::getpid();
  ProcessEntry self;
  if (read_process(mark.pid, self)) mark.start_time = self.start_time;
  mark.pid_namespace = own_pid_namespace();
  mark.user = ::geteuid();
  mark.chance = chance;
  return mark;
}

bool HostMark::parse(const char* text, HostMark& mark) {
  int end = 0;
  const int found =
      std::sscanf(text, "%d.%" SCNu64 ".%" SCNu64 ".%u.%" SCNx64 "%n", &mark.pid, &mark.start_time,
                  &mark.pid_namespace, &mark.user, &mark.chance, &end);
  return found == 5 && text[end] == '\0' && mark.pid > 0;
}

void HostMark::write(char (&text)[max_text]) const {
  std::snprintf(text, max_text, "%d.%" PRIu64 ".%" PRIu64 ".%u.%" PRIx64, pid, start_time,
                pid_namespace, user, chance);
}

bool HostMark::is_dead() const {
  ProcessEntry entry;
  if (!read_process(pid, entry)) return true;
  return entry.start_time != start_time || entry.state == 'Z' || entry.state == 'X';
}

}  // namespace unirun
