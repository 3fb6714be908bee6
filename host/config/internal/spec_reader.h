// SpecReader turns JSON into specs. It walks any document, also one whose shape is wrong: what is
// not there, or is not what it should be, becomes the default, for its fault is known already.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "host/config/host_config.h"
#include "host/config/internal/fault_list.h"
#include "host/config/internal/json_cursor.h"
#include "host/config/internal/service_reader.h"
#include "host/config/load_config.h"

namespace unirun {

// A worker as it was written, for those who look whether its targets exist.
struct WrittenWorker {
  std::string pointer;
  std::shared_ptr<const ServiceSpec> service;
  bool on_loop = false;  // Its executor runs it on an event loop.
  bool in_host = false;  // Its executor runs it inside the host's process.
};

class SpecReader {
 public:
  // REQUIRES: both outlive the reader.
  SpecReader(const LoadOptions& options, FaultList& faults);
  void set_surroundings(ServiceReader::Surroundings surroundings) {
    services_.set_surroundings(std::move(surroundings));
  }

  // The entries of "children" (or of "supervisors"), `instances` expanded. `path` is their
  // supervisor's path in the tree, `where` its place in the root's spec ("children/0/supervisor").
  [[nodiscard]] std::vector<ChildSpec> read_children(const JsonCursor& entries,
                                                     const std::string& path,
                                                     const std::string& where);

  // The flags of a supervisor, without its children.
  void read_flags(const JsonCursor& from, SupervisorSpec& to);

  [[nodiscard]] const ServiceReader& services() const { return services_; }

  // Where in the document stands what a SpecFault calls "children/2/restart"? Nothing if it says
  // the same as the first of several instances, but for `is_own`: what differs between them.
  [[nodiscard]] std::optional<std::string> pointer_to(const std::string& where, bool is_own) const;

  // Of the root supervisor, whose children are not under "children".
  void place_root(std::string flags_pointer, std::string children_pointer);

  std::vector<ServiceGroup> groups;
  std::vector<WrittenWorker> workers;

 private:
  ChildSpec read_child(const JsonCursor& from, const std::string& path, const std::string& where);
  void read_dependencies(const JsonCursor& from, ChildSpec& to);
  void read_backoff(const JsonCursor& from, Backoff::Limits& to);
  void check_executor(const JsonCursor& from, const ChildSpec& child);
  void check_target(const JsonCursor& from, const std::string& executor,
                    const ServiceTarget& target);
  void check_surroundings(const JsonCursor& from, const std::string& executor,
                          const ServiceSpec& service);
  void check_liveness(const JsonCursor& from, const std::string& executor,
                      const ServiceSpec& service);
  void depend_on_instances(std::vector<ChildSpec>& children, const std::string& path,
                           const std::string& prefix);

  const LoadOptions& options_;
  FaultList& faults_;
  ServiceReader services_;
  std::map<std::string, std::string>
      pointers_;                           // "children/0/supervisor/children/1" to JSON pointers.
  std::set<std::string> later_instances_;  // "children/3": not the first of its group.
};

}  // namespace unirun
