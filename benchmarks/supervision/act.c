/* The child of every supervisor under test: says when its main began, then waits to be killed.
 *
 * usage: act ID [ignored...]     ACT_FIFO: where to say it ("ID PID NANOSECONDS\n", CLOCK_MONOTONIC).
 * ACT_NOTIFY_FD: a descriptor that gets a newline, for supervisors that would otherwise hold a restart
 * back (s6). Linked statically: what is measured is the supervisor, not the loader. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  char line[128];
  int length = snprintf(line, sizeof line, "%s %d %lld\n", argc > 1 ? argv[1] : "?", (int)getpid(),
                        now.tv_sec * 1000000000LL + now.tv_nsec);
  int fifo = open(getenv("ACT_FIFO"), O_WRONLY | O_CLOEXEC);
  if (fifo < 0 || write(fifo, line, length) != length) return 111;
  close(fifo);
  const char *notify = getenv("ACT_NOTIFY_FD");
  if (notify && write(atoi(notify), "\n", 1) != 1) return 111;
  for (;;) pause();
}
