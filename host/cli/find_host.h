// Which host do the client commands mean? The one that was named, else the only one that runs.

#pragma once

#include <string>
#include <vector>

#include "framework/result.h"

namespace unirun {

struct HostChoice {
  std::string socket;             // --socket, or $UNIRUN_SOCKET
  std::string name;               // --name
  std::string runtime_directory;  // Where hosts that are not named are looked for.
};

// The path of a control socket. Errors: unreachable_host if no host runs, invalid_argument if
// several do; the message lists them.
[[nodiscard]] Result<std::string> find_host(const HostChoice& choice);

// The sockets in a directory behind which somebody listens, sorted; what a killed host left behind
// is passed over.
[[nodiscard]] std::vector<std::string> listening_sockets(const std::string& directory);

}  // namespace unirun
