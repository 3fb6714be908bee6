// Broken rules of the schema as faults that a person can mend: what was found, what the schema's
// own titles and words say would be right, and the nearest known key or word.

#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "host/config/config_fault.h"

namespace unirun {

// The faults of a document's shape, in no order; each has a pointer and no place yet. `definition`
// as for schema_violations().
[[nodiscard]] std::vector<ConfigFault> schema_faults(const nlohmann::json& document,
                                                     const std::string& definition = {});

// A value for people: `"always"`, `10`, `an object`; shortened.
[[nodiscard]] std::string describe_value(const nlohmann::json& value);

// `"a", "b" or "c"`, quoted.
[[nodiscard]] std::string join_words(const std::vector<std::string>& words,
                                     const char* last = "or");

}  // namespace unirun
