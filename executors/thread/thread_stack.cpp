#include "executors/thread/thread_stack.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace unirun {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t page = std::size_t{64} << 10;  // The largest that a small one may be.
constexpr std::size_t guard = page;

constexpr std::size_t round_up(std::size_t bytes) { return (bytes + page - 1) / page * page; }

Error no_memory(std::size_t bytes) {
  return {Errc::start_failed,
          fmt::format("mmap of {} bytes for the stack of a thread: {}; what is met first is ulimit "
                      "-v, memory.max of the cgroup or vm.max_map_count",
                      bytes, std::strerror(errno))};
}

}  // namespace

Result<ThreadStack> ThreadStack::make(std::size_t bytes) {
  ThreadStack stack;
  stack.bytes_ = round_up(bytes);
  stack.mapped_bytes_ = guard + stack.bytes_ + huge_page;
  void* const mapped = ::mmap(nullptr, stack.mapped_bytes_, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return no_memory(stack.mapped_bytes_);
  stack.mapped_ = mapped;
  // Its top, which is used first, is the end of a huge page.
  const auto end = reinterpret_cast<std::uintptr_t>(mapped) + stack.mapped_bytes_;
  stack.lowest_ = reinterpret_cast<void*>(end / huge_page * huge_page - stack.bytes_);
  if (::mprotect(stack.lowest_, stack.bytes_, PROT_READ | PROT_WRITE) != 0)
    return no_memory(stack.bytes_);
  // A wish: where the system has none to give, small pages do.
  ::madvise(stack.lowest_, stack.bytes_, MADV_HUGEPAGE);
  return stack;
}

ThreadStack::~ThreadStack() {
  if (mapped_ != nullptr) ::munmap(mapped_, mapped_bytes_);
}

}  // namespace unirun
