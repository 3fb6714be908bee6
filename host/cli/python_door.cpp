#include "host/cli/python_door.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace unirun {
namespace {

constexpr const char* search_path = "PYTHONPATH";

// As python_bindings/unirun/__main__.py reads it: so that services get the PYTHONPATH that we got.
void tell_the_door(const HostConfig& config) {
  const char* own = std::getenv(search_path);
  ::setenv("UNIRUN_DOOR", "checked", 1);
  if (own != nullptr) {
    ::setenv("UNIRUN_DOOR_PYTHONPATH", own, 1);
  } else {
    ::unsetenv("UNIRUN_DOOR_PYTHONPATH");
  }
  if (config.python_path.empty()) return;
  std::string places = fmt::format("{}", fmt::join(config.python_path, ":"));
  if (own != nullptr && *own != '\0') places += std::string(":") + own;
  ::setenv(search_path, places.c_str(), 1);
}

}  // namespace

bool has_python_inside(const SupervisorSpec& root) {
  for (const ChildSpec& child : root.children) {
    if (child.supervisor && has_python_inside(*child.supervisor)) return true;
    const bool is_inside = child.executor == "thread" || child.executor == "async";
    if (is_inside && child.service && std::holds_alternative<PythonTarget>(child.service->target)) {
      return true;
    }
  }
  return false;
}

Error go_on_in_python(const HostConfig& config, const std::vector<std::string>& words) {
  tell_the_door(config);
  std::vector<std::string> line{config.python, "-m", "unirun"};
  line.insert(line.end(), words.begin(), words.end());
  std::vector<char*> argv;
  for (std::string& word : line) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv.front(), argv.data());
  Error error = Error::from_errno(errno, "start " + config.python);
  error.message +=
      "; this tree has Python services on the executor thread or async, and needs an interpreter "
      "around it: name one in host.python";
  return error;
}

}  // namespace unirun
