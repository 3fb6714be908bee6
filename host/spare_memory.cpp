#include "host/spare_memory.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <utility>

namespace unirun {
namespace {

constexpr int arenas = 2;
constexpr Duration settling = std::chrono::milliseconds{500};
constexpr std::uint64_t burst = 1000;  // Events that make it worth a look,
constexpr std::uint64_t lull = 100;    // and so few within `settling` that it is over.

// Of one loaded object: its segments that nothing ever wrote to. They are clean, so dropping them
// loses nothing. (Relocated constants lie in a writable segment, and stay.)
int drop_clean_pages(dl_phdr_info* object, std::size_t, void*) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    // Whole pages only: the last one may be shared with a segment that is written.
    const std::uintptr_t from = (object->dlpi_addr + segment.p_vaddr + page - 1) & ~(page - 1);
    const std::uintptr_t to = (object->dlpi_addr + segment.p_vaddr + segment.p_memsz) & ~(page - 1);
    if (from < to) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void keep_heap_small() { ::mallopt(M_ARENA_MAX, arenas); }

SpareMemory::SpareMemory(EventLoop& loop, EventBus& bus) : loop_(loop) {
  const auto count = [this](const Event&) {
    if (++events_ >= burst) release_soon();
  };
  subscription_ = bus.subscribe(EventKinds::all(), count, "spare memory");
}

SpareMemory::~SpareMemory() { loop_.cancel_timer(timer_); }

void SpareMemory::release_soon() {
  if (timer_ != TimerId::none) return;
  timer_ = loop_.start_timer(loop_.clock().now() + settling, [this] { release(); });
}

// The heap's within a long burst too: it costs less than a millisecond. The code's when it is over.
void SpareMemory::release() {
  timer_ = TimerId::none;
  ::malloc_trim(0);
  if (std::exchange(events_, 0) >= lull) return release_soon();
  ::dl_iterate_phdr(drop_clean_pages, nullptr);
}

}  // namespace unirun
