#include "executors/python/interpreter/forks.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace unirun::python {
namespace {

// This process was forked off on this thread, and has no other from its parent.
thread_local bool is_fork = false;

}  // namespace

void Forks::watch() {
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] {
    is_fork = true;
    count_.fetch_add(1);
  });
  static_cast<void>(registered);
}

void Forks::end_child() {
  if (!is_fork) return;
  std::fputs(
      "unirun: a child that a task has forked returned from that task, and ends here: end it by "
      "os._exit()\n",
      stderr);
  ::_exit(EXIT_FAILURE);
}

}  // namespace unirun::python
