// GuardOrder is a scope's place among those of a thread that take the GIL or let go of it: the last
// one ends first, or each would undo what another has done. Checked where assert() is.
//
// Thread: each its own.

#pragma once

#include <cassert>
#include <cstdint>

namespace unirun::python {

class GuardOrder {
 public:
  GuardOrder() : place_(++innermost) {}

  void end() const {
    assert(place_ == innermost &&
           "a GILGuard or GILRelease ends before one that was made after it");
    --innermost;
  }

 private:
  constinit inline static thread_local std::uint32_t innermost = 0;
  const std::uint32_t place_;
};

}  // namespace unirun::python
