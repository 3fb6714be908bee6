#include "host/cli/find_host.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace unirun {
namespace {

bool is_listened_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const bool is_busy = result != 0 && errno == EAGAIN;  // Its queue is full: it is there.
  close(fd);
  return result == 0 || is_busy;
}

std::string name_of(const std::string& socket) {
  return std::filesystem::path(socket).stem().string();
}

}  // namespace

std::vector<std::string> listening_sockets(const std::string& directory) {
  std::vector<std::string> sockets;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string path = entry->path().string();
    if (entry->path().extension() == ".sock" && is_listened_to(path)) sockets.push_back(path);
  }
  std::sort(sockets.begin(), sockets.end());
  return sockets;
}

Result<std::string> find_host(const HostChoice& choice) {
  if (!choice.socket.empty()) return choice.socket;
  if (!choice.name.empty()) return choice.runtime_directory + '/' + choice.name + ".sock";
  const std::vector<std::string> sockets = listening_sockets(choice.runtime_directory);
  if (sockets.size() == 1) return sockets.front();
  if (sockets.empty()) {
    return Error{Errc::unreachable_host,
                 fmt::format("no host runs: nobody listens in {}; start one with `unirun up "
                             "CONFIG`, or name its socket with --socket",
                             choice.runtime_directory)};
  }
  std::string names;
  for (const std::string& socket : sockets) names += ' ' + name_of(socket);
  return Error{Errc::invalid_argument,
               fmt::format("several hosts run:{}; choose one with --name", names)};
}

}  // namespace unirun
