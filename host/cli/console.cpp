#include "host/cli/console.h"

#include <unistd.h>

namespace unirun {

Console Console::of_process() {
  return {std::cout, std::cerr, TextStyle::of(STDOUT_FILENO), TextStyle::of(STDERR_FILENO)};
}

ExitCode Console::fail(const Error& problem) const {
  return fail(exit_code_of(problem.code), problem.message);
}

ExitCode Console::fail(ExitCode code, std::string_view problem) const {
  error << paint("unirun:", Colour::red, error_style) << ' ' << problem << std::endl;
  return code;
}

}  // namespace unirun
