// From JSON to HostConfig, or to every fault that stands in the way. Three passes over one document
// fill one report: the text (syntax, duplicate keys), the schema (configs/unirun.schema.json, the
// single source of shapes), and the meaning (ids, dependencies, what exists on this machine).
//
// Blocks: reads files, and with `check_python` runs interpreters. Thread: any. Throws nothing.

#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/time.h"
#include "host/config/config_fault.h"
#include "host/config/host_config.h"

namespace unirun {

class ServiceRegistry;

struct LoadOptions {
  std::set<std::string> executors = {"async", "async_process", "process",
                                     "thread"};  // Those of this build.
  ServiceRegistry* native_services = nullptr;    // Of "native" targets; null: the program's.
  bool python_in_host = false;  // Python services may run on threads and the loop of the host.
  bool check_targets = true;    // Commands, directories, users and groups must exist.
  bool check_python = false;    // Import every Python target, one process per interpreter.
  Duration python_timeout = std::chrono::seconds{60};  // For all imports of one interpreter.
  std::string directory;  // For relative paths where there is no file. Empty: the current one.
  std::string python;     // Of Python targets, where the document names none. Empty: as found.
  std::string host_name;  // Where neither the document nor a file gives one. Empty: "unirun".

  // Where {"env": NAME}, PATH, HOME and XDG_* are looked up. Empty: this process's environment.
  std::function<std::optional<std::string>(const std::string&)> environment;
};

struct LoadOutcome {
  std::optional<HostConfig> config;  // Set if and only if there are no faults.
  std::vector<ConfigFault> faults;

  [[nodiscard]] bool ok() const { return config.has_value(); }
};

// Reads a file. A missing, unreadable or empty file is a fault like any other.
[[nodiscard]] LoadOutcome load_config(const std::string& path, const LoadOptions& options = {});

// `origin` names the text in messages, and its stem names the host.
[[nodiscard]] LoadOutcome parse_config(std::string_view text, const std::string& origin,
                                       const LoadOptions& options = {});

// A document that never was a text, such as one built in Python: faults have pointers, no lines.
[[nodiscard]] LoadOutcome config_from_json(const nlohmann::json& document,
                                           const LoadOptions& options = {});

// One entry of "children" for a running supervisor (start_child), judged by the same schema.
struct ChildOutcome {
  std::vector<ChildSpec> children;   // One, or as many as `instances` says.
  std::vector<ServiceGroup> groups;  // Its own, and those of supervisors inside it.
  std::vector<std::string> secrets;
  std::vector<ConfigFault> faults;

  [[nodiscard]] bool ok() const { return faults.empty(); }
};
[[nodiscard]] ChildOutcome child_from_json(const nlohmann::json& child,
                                           const std::string& supervisor_path,
                                           const HostConfig& host, const LoadOptions& options = {});

// configs/unirun.schema.json, as it was built in.
[[nodiscard]] std::string_view schema_text();

}  // namespace unirun
