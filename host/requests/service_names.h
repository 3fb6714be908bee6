// ServiceNames knows what a path means: a child of the tree, or a group of instances that were
// written as one service.
//
// Thread: the loop's.

#pragma once

#include <string>
#include <vector>

#include "framework/result.h"
#include "host/config/host_config.h"
#include "supervisors/supervision_tree.h"

namespace unirun {

class ServiceNames {
 public:
  // `tree` outlives it.
  ServiceNames(SupervisionTree& tree, std::vector<ServiceGroup> groups);

  // Nothing happens if it is known.
  void add(const ServiceGroup& group);
  // Null: no group has this path.
  [[nodiscard]] ServiceGroup* find(const std::string& path);

  // The child of this path, or those of the group of this name.
  // Errors: unknown(path).
  [[nodiscard]] Result<std::vector<ChildSnapshot>> resolve(const std::string& path);
  // There is no such service; which one may have been meant.
  [[nodiscard]] Error unknown(const std::string& path) const;

 private:
  SupervisionTree& tree_;
  std::vector<ServiceGroup> groups_;  // As configured, and as changed by scale and start_child.
};

}  // namespace unirun
