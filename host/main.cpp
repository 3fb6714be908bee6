// The native door: `unirun`.

#include "host/cli/command_line.h"

int main(int argc, char** argv) {
  const unirun::Console console = unirun::Console::of_process();
  return static_cast<int>(unirun::run_command_line(argc, argv, console));
}
