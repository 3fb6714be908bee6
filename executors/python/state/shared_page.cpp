#include "executors/python/state/shared_page.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace unirun::python {
namespace {

constexpr int fixed_size = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;

Error system_error(Errc code, std::string_view what, int error_number) {
  return {.code = code,
          .message = fmt::format("shared memory: {}: {}", what, std::strerror(error_number))};
}

}  // namespace

Result<SharedPage> SharedPage::create(const char* name, std::size_t size) {
  const int descriptor = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return system_error(Errc::memory_limit, "memfd_create", errno);
  if (::ftruncate(descriptor, static_cast<off_t>(size)) != 0 ||
      ::fcntl(descriptor, F_ADD_SEALS, fixed_size) != 0) {
    const int error_number = errno;
    ::close(descriptor);
    return system_error(Errc::memory_limit, fmt::format("{} bytes", size), error_number);
  }
  return map(descriptor, size);
}

Result<SharedPage> SharedPage::attach(int descriptor) {
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  struct stat status {};
  if (seals < 0 || (seals & fixed_size) != fixed_size || ::fstat(descriptor, &status) != 0) {
    return Error{.code = Errc::unsupported,
                 .message = fmt::format("descriptor {} is of no SharedPage: hand on what "
                                        "SharedPage::descriptor() gives",
                                        descriptor)};
  }
  const int own = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return system_error(Errc::memory_limit, "dup", errno);
  return map(own, static_cast<std::size_t>(status.st_size));
}

Result<SharedPage> SharedPage::map(int descriptor, std::size_t size) {
  void* begin = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (begin == MAP_FAILED) {
    const int error_number = errno;
    ::close(descriptor);
    return system_error(Errc::memory_limit, fmt::format("mapping {} bytes", size), error_number);
  }
  return SharedPage({static_cast<std::byte*>(begin), size}, descriptor);
}

SharedPage::SharedPage(SharedPage&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), descriptor_(std::exchange(other.descriptor_, -1)) {}

SharedPage::~SharedPage() {
  if (bytes_.empty()) return;
  ::munmap(bytes_.data(), bytes_.size());
  ::close(descriptor_);
}

}  // namespace unirun::python
