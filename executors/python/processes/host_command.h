// The command of worker processes in a host's Python: that interpreter itself, which enters them by
// the extension module unirun._embed. So it needs no libpython, and no program that is installed.
//
// Thread: with the GIL.

#pragma once

#include <string>
#include <vector>

namespace unirun::python {

// As worker_command(). Nothing: unirun._embed was not imported from a file, or it is not known
// where the interpreter's program is.
[[nodiscard]] std::vector<std::string> host_command();

}  // namespace unirun::python
