// The stack of a thread that is to use much of it.

#include "executors/thread/thread_stack.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>

#include "executors/thread/service_thread.h"

using namespace unirun;

namespace {

constexpr std::size_t megabyte = std::size_t{1} << 20;

std::uintptr_t lowest_of(const ThreadStack& stack) {
  return reinterpret_cast<std::uintptr_t>(stack.lowest());
}

// As the kernel sees it: nobody has to fault for it.
bool is_readable(std::uintptr_t address) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const bool came = ::write(ends[1], reinterpret_cast<const void*>(address), 1) == 1;
  if (!came) CHECK(errno == EFAULT);
  ::close(ends[0]);
  ::close(ends[1]);
  return came;
}

// Of the address space of this process.
std::size_t bytes_mapped() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

TEST_CASE("a thread runs on the stack that it is given") {
  const auto stack = ThreadStack::make(8 * megabyte);
  REQUIRE(stack.ok());
  CHECK(stack->size() == 8 * megabyte);
  std::uintptr_t here = 0;
  auto thread = ServiceThread::start(
      "on-a-stack",
      [&here] { here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)); }, *stack);
  REQUIRE(thread.ok());
  thread->join();
  CHECK(here > lowest_of(*stack));
  CHECK(here < lowest_of(*stack) + stack->size());
}

TEST_CASE("what lies below a stack cannot be touched, and all of the stack can") {
  for (const std::size_t bytes : {std::size_t{1}, megabyte, 5 * megabyte + 1}) {
    const auto stack = ThreadStack::make(bytes);
    REQUIRE(stack.ok());
    REQUIRE(stack->size() >= bytes);
    CHECK(is_readable(lowest_of(*stack)));
    CHECK(is_readable(lowest_of(*stack) + stack->size() - 1));
    CHECK_FALSE(is_readable(lowest_of(*stack) - 1));
  }
}

TEST_CASE("a thousand stacks leave nothing behind") {
  const auto before = bytes_mapped();
  REQUIRE(before > 0);
  for (int i = 0; i < 1000; ++i) {
    const auto stack = ThreadStack::make(megabyte);
    REQUIRE(stack.ok());
    *static_cast<char*>(stack->lowest()) = 1;
  }
  CHECK(bytes_mapped() < before + 500 * megabyte);
}

TEST_CASE("a stack that is larger than memory is refused, saying what would have to be raised") {
  const auto stack = ThreadStack::make(std::numeric_limits<std::size_t>::max() / 4);
  REQUIRE_FALSE(stack.ok());
  CHECK(stack.error().code == Errc::start_failed);
  CHECK(stack.error().message.find("for the stack of a thread: Cannot allocate memory") !=
        std::string::npos);
}
