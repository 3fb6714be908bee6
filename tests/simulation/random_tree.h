// RandomTree draws whole supervision trees from one seed: nested, every strategy, graphs, dynamic.

#pragma once

#include "framework/random.h"
#include "supervisors/child_spec.h"

namespace unirun::testing {

[[nodiscard]] SupervisorSpec random_tree(Random& random);

// One child that could join `parent`; its id is new if `number` is.
[[nodiscard]] ChildSpec random_worker(Random& random, const SupervisorSpec& parent, std::string id);

}  // namespace unirun::testing
