// Credentials are the numbers behind a service's user, group and groups. Names are looked up here,
// in the host and before anything is spawned: between clone and exec nothing may ask NSS.
//
// Thread: the loop's. The look-up reads /etc/passwd or asks what NSS asks.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "framework/result.h"

namespace unirun {

struct Credentials {
  // Nothing: keep the host's own.
  std::optional<uid_t> user;
  std::optional<gid_t> group;
  std::optional<std::vector<gid_t>> groups;

  // For USER, LOGNAME and HOME; empty where no user is named or it has no passwd entry.
  std::string name, home;
};

// Names or numbers, each may be empty. What the host already is needs no right to change and is
// left out. Errors name the unknown user or group.
[[nodiscard]] Result<Credentials> resolve_credentials(const std::string& user,
                                                      const std::string& group,
                                                      const std::vector<std::string>& groups);

}  // namespace unirun
