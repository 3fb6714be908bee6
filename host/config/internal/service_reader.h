// ServiceReader turns a worker's JSON into a ServiceSpec. What a shape cannot say is found here:
// secrets that are not there, signals and limits that do not exist, patterns that are none.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "executors/service_spec.h"
#include "host/config/internal/fault_list.h"
#include "host/config/internal/json_cursor.h"
#include "host/config/load_config.h"

namespace unirun {

class ServiceReader {
 public:
  // What specs need of the host around them.
  struct Surroundings {
    std::string directory;  // For relative paths.
    std::string state_dir;  // For relative log files.
    std::string python;
    std::vector<std::string> python_path;
  };

  // REQUIRES: both outlive the reader.
  ServiceReader(const LoadOptions& options, FaultList& faults);
  void set_surroundings(Surroundings surroundings) { around_ = std::move(surroundings); }

  [[nodiscard]] std::shared_ptr<ServiceSpec> read(const JsonCursor& from);

  // A variable of the environment that the options name.
  [[nodiscard]] std::optional<std::string> variable(const std::string& name) const;

  // The values that came from {"env"} and {"file"}.
  std::vector<std::string> secrets;

 private:
  ServiceTarget read_target(const JsonCursor& from);
  NativeTarget read_native(const std::string& pointer, std::string name);
  void read_start(const JsonCursor& from, ServiceSpec& to);
  void read_environment(const JsonCursor& from, ServiceSpec& to);
  std::optional<std::string> read_secret(const JsonCursor& from);
  void read_limits(const JsonCursor& from, ServiceSpec& to);
  std::optional<std::uint64_t> read_limit(const JsonCursor& from);
  void read_address(const JsonCursor& from, std::string& to);
  HttpCheck read_http_check(const JsonCursor& from);
  Readiness read_readiness(const JsonCursor& from);
  Liveness read_liveness(const JsonCursor& from);
  void read_output(const JsonCursor& from, OutputSpec& to);

  // Absolute, against the directory of the configuration.
  [[nodiscard]] std::string absolute(const std::string& path) const;

  const LoadOptions& options_;
  FaultList& faults_;
  Surroundings around_;
};

}  // namespace unirun
