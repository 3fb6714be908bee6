/* The bare floor: no supervisor at all, just vfork, a pidfd per child, and epoll.
 *
 * usage: floor COUNT PROGRAM     starts COUNT children "PROGRAM ID" and starts each again when it dies.
 * SIGTERM kills them all and ends; with FLOOR_IN_ORDER set it kills the last one, waits for its death, and so on, as
 * supervisors have it. With FLOOR_BALLAST_MB set, so much memory is resident first. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static const char *program;
static int poller;
static struct child {
  pid_t pid;
  int fd;
} *children;

static void start(int index) {
  char id[16];
  snprintf(id, sizeof id, "%d", index);
  char *argv[] = {(char *)program, id, NULL};
  pid_t pid = vfork();
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(program, argv, environ);
    _exit(127);
  }
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  children[index] = (struct child){pid, fd};
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)index};
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void end_in_order(int count) {
  for (int k = count; k-- > 0;) {
    struct epoll_event ready;
    kill(children[k].pid, SIGKILL);
    do {
      epoll_wait(poller, &ready, 1, -1);
    } while (ready.data.u32 != (unsigned)k);
    waitpid(children[k].pid, NULL, 0);
    close(children[k].fd);
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return 100;
  int count = atoi(argv[1]);
  program = argv[2];
  const char *ballast = getenv("FLOOR_BALLAST_MB");
  if (ballast) memset(malloc((size_t)atoi(ballast) << 20), 1, (size_t)atoi(ballast) << 20);
  children = calloc((size_t)count, sizeof *children);
  poller = epoll_create1(EPOLL_CLOEXEC);
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, NULL);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = ~0u};
  int signals = signalfd(-1, &term, SFD_CLOEXEC);
  epoll_ctl(poller, EPOLL_CTL_ADD, signals, &event);
  for (int i = 0; i < count; i++) start(i);
  for (;;) {
    struct epoll_event ready[64];
    int n = epoll_wait(poller, ready, 64, -1);
    for (int i = 0; i < n; i++) {
      if (ready[i].data.u32 == ~0u) {
        epoll_ctl(poller, EPOLL_CTL_DEL, signals, NULL);
        if (getenv("FLOOR_IN_ORDER")) return end_in_order(count), 0;
        for (int k = 0; k < count; k++) kill(children[k].pid, SIGKILL);
        for (int k = 0; k < count; k++) waitpid(children[k].pid, NULL, 0);
        return 0;
      }
      struct child *dead = &children[ready[i].data.u32];
      waitpid(dead->pid, NULL, 0);
      /* By name, not by close(): a child resumes us before its exec has closed its own copy. */
      epoll_ctl(poller, EPOLL_CTL_DEL, dead->fd, NULL);
      close(dead->fd);
      start((int)ready[i].data.u32);
    }
  }
}
