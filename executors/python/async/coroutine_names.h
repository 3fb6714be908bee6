// CoroutineNames remembers which functions were coroutine functions when they were last called by
// name. It is a hint, of a fixed size, and may be wrong: whoever goes by it looks at the function.
//
// Thread: any. It is the process's, knows nothing of Python, and takes no lock.

#pragma once

#include <string_view>

namespace unirun::python {

class CoroutineNames {
 public:
  [[nodiscard]] static bool contains(std::string_view module, std::string_view function);
  static void remember(std::string_view module, std::string_view function);
  static void forget(std::string_view module, std::string_view function);
};

}  // namespace unirun::python
