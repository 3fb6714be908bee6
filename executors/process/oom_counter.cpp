#include "executors/process/oom_counter.h"

#include <fcntl.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>

namespace unirun {
namespace {

// The lines of /proc/self/cgroup read "0::/path" (v2) and "4:memory:/path" (v1).
int open_of_own_cgroup() {
  std::ifstream lines("/proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {
    const auto path = line.find(':', line.find(':') + 1);
    if (path == std::string::npos) continue;
    const std::string controllers = line.substr(line.find(':') + 1, path - line.find(':') - 1);
    std::string file;
    if (controllers.empty()) {
      file = "/sys/fs/cgroup" + line.substr(path + 1) + "/memory.events";
    } else if (controllers == "memory") {
      file = "/sys/fs/cgroup/memory" + line.substr(path + 1) + "/memory.oom_control";
    } else {
      continue;
    }
    const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0) return descriptor;
  }
  return -1;
}

}  // namespace

OomCounter::OomCounter() : file_(open_of_own_cgroup()), last_(read()) {}

std::uint64_t OomCounter::read() const {
  if (!file_) return 0;
  char text[512];
  const ssize_t count = ::pread(file_.get(), text, sizeof text - 1, 0);
  if (count <= 0) return last_;
  text[count] = '\0';
  // A line of its own in both versions: "oom_kill 3".
  const auto place = std::string_view(text).find("\noom_kill ");
  std::uint64_t kills = 0;
  if (place == std::string_view::npos) return 0;
  return std::sscanf(text + place, "\noom_kill %" SCNu64, &kills) == 1 ? kills : 0;
}

bool OomCounter::has_grown() {
  const std::uint64_t now = read();
  return now > std::exchange(last_, now);
}

}  // namespace unirun
