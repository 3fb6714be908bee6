#include "host/requests/service_names.h"

#include <algorithm>
#include <utility>

#include "framework/nearest.h"

namespace unirun {
namespace {

std::string path_of(const ServiceGroup& group) {
  return group.supervisor.empty() ? group.id : group.supervisor + '/' + group.id;
}

}  // namespace

ServiceNames::ServiceNames(SupervisionTree& tree, std::vector<ServiceGroup> groups)
    : tree_(tree), groups_(std::move(groups)) {}

void ServiceNames::add(const ServiceGroup& group) {
  if (find(path_of(group)) == nullptr) groups_.push_back(group);
}

ServiceGroup* ServiceNames::find(const std::string& path) {
  const auto found = std::find_if(groups_.begin(), groups_.end(),
                                  [&](const auto& group) { return path_of(group) == path; });
  return found == groups_.end() ? nullptr : &*found;
}

Result<std::vector<ChildSnapshot>> ServiceNames::resolve(const std::string& path) {
  if (path.empty()) return Error{Errc::invalid_argument, "which service? Give its path"};
  if (Result<ChildSnapshot> child = tree_.find(path)) return std::vector{*child};
  const ServiceGroup* named = find(path);
  if (!named) return unknown(path);
  std::vector<ChildSnapshot> children;
  for (unsigned instance = 1; instance <= named->instances; ++instance) {
    Result<ChildSnapshot> child =
        tree_.which_child(named->supervisor, instance_of(*named, instance).id);
    if (child) children.push_back(std::move(*child));
  }
  return children;
}

Error ServiceNames::unknown(const std::string& path) const {
  std::vector<std::string> known;
  for (const ServiceGroup& group : groups_) known.push_back(path_of(group));
  const TreeSnapshot root = tree_.snapshot();
  std::vector<const TreeSnapshot*> open{&root};
  while (!open.empty()) {
    const TreeSnapshot* node = open.back();
    open.pop_back();
    if (!node->child.path.empty()) known.push_back(node->child.path);
    for (const TreeSnapshot& child : node->children) open.push_back(&child);
  }
  std::string meant = nearest(path, known);
  // "ingest" for "pipeline/ingest": the path is missing, not misspelt.
  for (const std::string& candidate : known) {
    if (meant.empty() && split_path(candidate).second == path) meant = candidate;
  }
  return {Errc::not_found,
          "there is no service \"" + path + "\"" +
              (meant.empty() ? "; `unirun tree` shows all" : "; did you mean \"" + meant + "\"?")};
}

}  // namespace unirun
