// Which unirun this code was built as. A shared object of services has a framework of its own, and
// says here whether it is the host's.

#pragma once

namespace unirun {

[[nodiscard]] const char* version();  // "0.1.0"

}  // namespace unirun
