#include "host/config/host_config.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "host/config/internal/places.h"
#include "host/config/spec_json.h"

namespace unirun {

ChildSpec instance_of(const ServiceGroup& group, unsigned instance) {
  ChildSpec child = group.child;
  child.id = fmt::format("{}-{}", group.id, instance);
  child.instance = instance;
  return child;
}

const ServiceGroup* HostConfig::group(std::string_view supervisor, std::string_view id) const {
  const auto found = std::find_if(groups.begin(), groups.end(), [&](const ServiceGroup& group) {
    return group.supervisor == supervisor && group.id == id;
  });
  return found == groups.end() ? nullptr : &*found;
}

std::string default_state_dir(std::string_view host_name) {
  return Places::of_process().state_dir(host_name);
}

std::string default_runtime_dir() { return Places::of_process().runtime_dir(); }

std::string default_control_socket(std::string_view host_name) {
  return fmt::format("{}/{}.sock", default_runtime_dir(), host_name);
}

HostConfig default_config(std::string name) {
  HostConfig config;
  config.name = std::move(name);
  std::error_code ignored;
  config.directory = std::filesystem::current_path(ignored).string();
  config.state_dir = default_state_dir(config.name);
  config.runtime_dir = default_runtime_dir();
  config.control_socket = default_control_socket(config.name);
  config.journal_file = config.state_dir + "/journal.sqlite";
  config.python = default_python();
  return config;
}

std::string mask(std::string text, const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets) {
    for (std::size_t at = text.find(secret); !secret.empty() && at != std::string::npos;
         at = text.find(secret, at + 3)) {
      text.replace(at, secret.size(), "***");
    }
  }
  return text;
}

nlohmann::json to_json(const HostConfig& config) {
  nlohmann::json root = spec_to_json(config.root);
  nlohmann::json supervisors = std::move(root["children"]);
  root.erase("children");
  nlohmann::json host = {{"name", config.name},
                         {"state_dir", config.state_dir},
                         {"runtime_dir", config.runtime_dir},
                         {"control_socket", config.control_socket},
                         {"journal", config.journal_file.value_or("off")},
                         {"log_level", std::string(to_string(config.log_level))},
                         {"python", config.python},
                         {"python_path", config.python_path},
                         {"root", std::move(root)}};
  if (config.seed) host["random_seed"] = *config.seed;
  return {{"host", std::move(host)}, {"supervisors", std::move(supervisors)}};
}

}  // namespace unirun
