// Documents and options that the tests of configurations share. Nothing here looks at the
// environment of whoever runs them, but for PATH.

#pragma once

#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "executors/native/service_registry.h"
#include "host/config/load_config.h"

namespace unirun {

inline LoadOptions plain_options() {
  LoadOptions options;
  static ServiceRegistry registry;
  if (registry.names().empty()) registry.add("echo", [](const ServiceSpec&) { return nullptr; });
  options.native_services = &registry;
  options.environment = [](const std::string& name) -> std::optional<std::string> {
    if (name == "HOME") return "/home/tester";
    if (name == "PATH") return std::getenv("PATH");
    return std::nullopt;
  };
  return options;
}

// "configs/full.json", wherever the tests run. Not inlined: gcc 12 would warn, falsely, that the
// literal runs over a short string.
[[gnu::noinline]] inline std::string in_source_tree(const std::string& path) {
  return std::string(UNIRUN_SOURCE_DIR "/") + path;
}

// For configs/full.json, which names files that only an installation has.
inline LoadOptions full_options() { return plain_options(); }

template <class... Workers>
nlohmann::json document_with(const Workers&... workers) {
  nlohmann::json children = nlohmann::json::array();
  (children.push_back(workers), ...);
  return {{"supervisors", {{{"id", "s"}, {"children", std::move(children)}}}}};
}

// One supervisor "s" with these children.
inline LoadOutcome load(const nlohmann::json& first) {
  return config_from_json(document_with(first), plain_options());
}
inline LoadOutcome load(const nlohmann::json& first, const nlohmann::json& second) {
  return config_from_json(document_with(first, second), plain_options());
}
inline std::vector<ConfigFault> faults_of(const nlohmann::json& first) {
  return load(first).faults;
}
inline std::vector<ConfigFault> faults_of(const nlohmann::json& first,
                                          const nlohmann::json& second) {
  return load(first, second).faults;
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "unirun-config-XXXXXX").string();
    path_ = mkdtemp(name.data()) != nullptr ? name : std::string();
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + '/' + name, std::ios::binary) << text;
  }

 private:
  std::string path_;
};

}  // namespace unirun
