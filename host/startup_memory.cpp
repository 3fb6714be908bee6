#include "host/startup_memory.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace unirun {
namespace {

constexpr int arenas = 2;

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

void release_startup_memory() {
  ::malloc_trim(0);
  ::dl_iterate_phdr(drop_clean_pages, nullptr);
}

}  // namespace unirun
