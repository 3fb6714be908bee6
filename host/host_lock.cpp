#include "host/host_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace unirun {
namespace {

Error io_error(int error_number, const std::string& what) {
  Error error = Error::from_errno(error_number, what);
  error.code = Errc::io;
  return error;
}

std::string first_line(int descriptor) {
  std::array<char, 32> text{};
  const ssize_t n = ::pread(descriptor, text.data(), text.size() - 1, 0);
  if (n <= 0) return "?";
  return std::string(text.data(), ::strcspn(text.data(), "\n"));
}

}  // namespace

HostLock& HostLock::operator=(HostLock&& other) noexcept {
  if (this != &other) {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = std::exchange(other.descriptor_, -1);
  }
  return *this;
}

HostLock::~HostLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<HostLock> HostLock::take(const std::string& file, const std::string& host_name) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) return io_error(errno, "open " + file);
  HostLock lock(descriptor);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return io_error(errno, "lock " + file);
    return Error{Errc::already_started, "a host named " + host_name + " already runs as pid " +
                                            first_line(descriptor) + " (it holds " + file +
                                            "); stop it, or give this one another name"};
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  // The pid is for people: a disk too full for it changes nothing about the lock.
  if (::ftruncate(descriptor, 0) == 0) (void)!::pwrite(descriptor, pid.data(), pid.size(), 0);
  return lock;
}

Status ensure_private_directory(const std::string& directory) {
  for (std::size_t end = directory.find('/', 1);; end = directory.find('/', end + 1)) {
    const std::string part = directory.substr(0, end);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      const int reason = errno;
      struct stat present {};  // A read-only parent is fine where the child is there already.
      if (::stat(part.c_str(), &present) != 0) return io_error(reason, "make directory " + part);
    }
    if (end == std::string::npos) break;
  }
  struct stat present {};
  if (::stat(directory.c_str(), &present) != 0) return io_error(errno, directory);
  if (!S_ISDIR(present.st_mode)) return io_error(ENOTDIR, directory);
  if (::access(directory.c_str(), W_OK | X_OK) != 0) {
    return io_error(errno, "no files can be made in the directory " + directory);
  }
  return {};
}

}  // namespace unirun
