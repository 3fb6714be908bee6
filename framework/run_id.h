// RunId names one life of one service: every launch gets a new one, so that news of a dead run can
// never be taken for news of its successor. Unique within a host, growing, 0 is none.

#pragma once

#include <cstdint>

namespace unirun {

enum class RunId : std::uint64_t { none = 0 };

}  // namespace unirun
