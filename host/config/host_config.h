// HostConfig is a configuration that has been judged: every name resolved, every default filled in,
// every path absolute. host/ builds a host from it and never looks at the JSON again.
//
// A value: any thread, no owner.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "framework/event.h"
#include "supervisors/child_spec.h"

namespace unirun {

inline constexpr unsigned most_instances = 100'000;  // Of a group; the JSON schemas say the same.

// Children written once with `instances`. The supervisor knows the expanded ones ("ingest-1",
// "ingest-2"); the group keeps what they were made from, so that `scale` can make more.
struct ServiceGroup {
  std::string supervisor;  // Path of their supervisor: "pipeline".
  std::string id;          // As written: "ingest".
  ChildSpec child;         // As written, its id without a number.
  unsigned instances = 1;  // How many there are to be.
};

// The child number `instance` (from 1) of a group: "ingest-2", its ServiceSpec that of the group.
[[nodiscard]] ChildSpec instance_of(const ServiceGroup& group, unsigned instance);

struct HostConfig {
  std::string name;       // Default: the stem of the file's name, else "unirun".
  std::string origin;     // The file it came from, absolute; empty if none.
  std::string directory;  // What relative paths in it are relative to.

  std::string state_dir;       // What survives the host. Default: $XDG_STATE_HOME/unirun/<name>.
  std::string runtime_dir;     // What does not. Default: $XDG_RUNTIME_DIR/unirun, made with 0700.
  std::string control_socket;  // Default: <runtime_dir>/<name>.sock
  std::optional<std::string>
      journal_file;                     // Default: <state_dir>/journal.sqlite. Nothing: no journal.
  Severity log_level = Severity::info;  // What `up` shows; events are kept whatever this says.

  std::string python;                    // The interpreter of Python services.
  std::vector<std::string> python_path;  // Before the interpreter's own sys.path.
  std::optional<std::uint64_t> seed;     // Nothing: drawn from the system and said in host_started.

  // An ordinary supervisor over the top-level ones, each a ChildSpec with `supervisor`.
  SupervisorSpec root;
  std::vector<ServiceGroup> groups;

  // Values that came from {"env"} and {"file"}: no output may show them (see mask()).
  std::vector<std::string> secrets;

  [[nodiscard]] const ServiceGroup* group(std::string_view supervisor, std::string_view id) const;
};

// The places a host of this name uses when its configuration names none. They look at
// XDG_STATE_HOME, XDG_RUNTIME_DIR and HOME; the client commands use them to find a host.
[[nodiscard]] std::string default_state_dir(std::string_view host_name);
[[nodiscard]] std::string default_runtime_dir();
[[nodiscard]] std::string default_control_socket(std::string_view host_name);

// A host that was built in code: every default as load_config() would fill it in.
[[nodiscard]] HostConfig default_config(std::string name = "unirun");

// `text` with every secret replaced by "***".
[[nodiscard]] std::string mask(std::string text, const std::vector<std::string>& secrets);

// The configuration again, as it would be written with every default spelled out; secrets masked.
[[nodiscard]] nlohmann::json to_json(const HostConfig& config);

}  // namespace unirun
