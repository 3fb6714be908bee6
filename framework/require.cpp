#include "framework/require.h"

#include <cstdio>
#include <cstdlib>

namespace unirun {

void requirement_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: requires %s\n", file, line, expression);
  std::abort();
}

}  // namespace unirun
