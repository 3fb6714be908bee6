// HostLock makes sure that there is one host for a place: a lock on a file, which the kernel drops
// with its holder however that ends. What a killed host leaves behind therefore stops nobody.
//
// Thread: one. The file stays; only the lock goes.

#pragma once

#include <string>
#include <utility>

#include "framework/result.h"

namespace unirun {

class HostLock {
 public:
  HostLock() = default;  // Of nothing.
  HostLock(HostLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  HostLock& operator=(HostLock&& other) noexcept;
  ~HostLock();

  // Locks `file`, makes it if need be, and writes our pid into it. Errors: already_started with the
  // pid of the other host ("a host named x already runs as pid 4711"), io.
  [[nodiscard]] static Result<HostLock> take(const std::string& file, const std::string& host_name);

 private:
  explicit HostLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

// Makes `directory` and what is missing above it, 0700, and makes sure that files can be made
// there. Errors: io, with the directory and what is wrong.
[[nodiscard]] Status ensure_private_directory(const std::string& directory);

}  // namespace unirun
