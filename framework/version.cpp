#include "framework/version.h"

namespace unirun {

const char* version() { return UNIRUN_VERSION; }

}  // namespace unirun
