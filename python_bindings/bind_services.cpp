#include "python_bindings/gil.h"
// gil.h first: it brings Python.h.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "executors/process/host_mark.h"
#include "host/cli/command_line.h"
#include "python_bindings/services/attendant.h"
#include "python_bindings/services/python_service_factory.h"
#include "python_bindings/services/service_link.h"

namespace unirun::bindings {
namespace {

// For the GIL, once every service has ended.
constexpr Duration patience_at_exit = std::chrono::seconds{2};

// The command line, on this thread and without the GIL. A service that was given up and still holds
// the GIL in native code must not keep the process from ending.
int run_main(const std::vector<std::string>& arguments, const std::string& python,
             bool targets_are_checked) {
  std::vector<const char*> argv;
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  CommandDoor door;
  door.python_services = &python_services();
  door.python = python;
  door.targets_are_checked = targets_are_checked;
  return without_gil([&] {
    const Console console = Console::of_process();
    const auto code = run_command_line(static_cast<int>(argv.size()), argv.data(), console, door);
    std::cout.flush();
    if (!Attendant::of_process().run([] {}, patience_at_exit)) ::_exit(static_cast<int>(code));
    return static_cast<int>(code);
  });
}

// What the environment of this process says of the host: os.environ is a copy from before.
std::map<std::string, std::string> host_marks() {
  std::map<std::string, std::string> marks;
  for (const char* name : {host_mark_variable, launch_mark_variable}) {
    if (const char* value = std::getenv(name)) marks.emplace(name, value);
  }
  return marks;
}

}  // namespace

void bind_services(py::module_& module) {
  bind_service_link(module);
  module.def("main", &run_main, py::arg("arguments"), py::arg("python"),
             py::arg("targets_are_checked"));
  module.def("host_marks", &host_marks);
}

}  // namespace unirun::bindings
