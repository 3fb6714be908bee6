// What only starting needed, given back: the pages of code and constants that parsing and checking
// a configuration touched, and the free ends of the heap. A page that is needed after all comes
// back from the file's cache by a minor fault.
//
// Thread: any.

#pragma once

namespace unirun {

// For the start of a program of few threads: keeps the allocator from making an arena for each.
void keep_heap_small();

void release_startup_memory();

}  // namespace unirun
