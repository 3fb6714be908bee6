// Specs as JSON, in the words of the configuration and with every default filled in: what
// get_childspec answers, what `plan` will compare. Values of ServiceSpec::secret_env are masked.

#pragma once

#include <nlohmann/json.hpp>

#include "supervisors/child_spec.h"

namespace unirun {

[[nodiscard]] nlohmann::json spec_to_json(const ChildSpec& child);

// Without an id: that is its child spec's.
[[nodiscard]] nlohmann::json spec_to_json(const SupervisorSpec& supervisor);

[[nodiscard]] nlohmann::json spec_to_json(const Shutdown& shutdown);

}  // namespace unirun
