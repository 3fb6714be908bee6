#include "host/config/internal/embedded.h"
#include "host/config/load_config.h"

namespace unirun {

std::string_view schema_text() { return embedded::unirun_schema_json; }

}  // namespace unirun
