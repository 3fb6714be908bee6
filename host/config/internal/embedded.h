// Files of the source tree that are part of the binary (cmake/embed_text.cmake).

#pragma once

#include <string_view>

namespace unirun::embedded {

extern const std::string_view unirun_schema_json;  // configs/unirun.schema.json
extern const std::string_view import_targets_py;   // host/config/internal/import_targets.py

}  // namespace unirun::embedded
