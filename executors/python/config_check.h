// What is wrong with a Config, found before anything starts.
//
// Thread: any.

#pragma once

#include "executors/python/error.h"
#include "executors/python/python_executor.h"

namespace unirun::python {

// Errors: the first fault, by its name, with what would be right: import_failed, of `preload`; else
// unsupported.
[[nodiscard]] Result<void> check_config(const PythonExecutor::Config& config);

// Where Python would hear of the text up to its first NUL alone. Errors: `code`, with `where` that
// stands.
[[nodiscard]] Result<void> check_no_nul(std::string_view where, std::string_view text,
                                        Errc code = Errc::unsupported);

}  // namespace unirun::python
