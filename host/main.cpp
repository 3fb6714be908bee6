// The native door: `unirun`.

#include <unistd.h>

#include <cstdio>

#include "host/cli/command_line.h"
#include "host/host.h"

int main(int argc, char** argv) {
  const unirun::Console console = unirun::Console::of_process();
  const int code = static_cast<int>(unirun::run_command_line(argc, argv, console));
  if (unirun::Host::abandoned_threads() == 0) return code;
  // Static destructors would pull away what those threads stand on.
  console.out.flush();
  console.error.flush();
  std::fflush(nullptr);
  ::_exit(code);
}
