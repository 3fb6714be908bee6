// While an interpreter ends, CPython ends every other thread that asks for its GIL: by
// pthread_exit() up to 3.13, which unwinds C++ frames and must not, for it would run destructors
// that touch Python. Such a thread waits here for the end of the process instead, as from 3.14 it
// does by itself.

#pragma once

#include <cxxabi.h>
#include <unistd.h>

namespace unirun::python {

// Waits for the end of the process.
[[noreturn]] inline void hang() {
  for (;;) ::pause();
}

// Calls `step`, one call into CPython that may take the GIL back and has nothing to destroy.
template <class Step>
auto or_hang(Step step) {
#ifdef __cpp_exceptions
  try {
    return step();
  } catch (abi::__forced_unwind&) {
    hang();
  }
#else
  return step();
#endif
}

}  // namespace unirun::python
