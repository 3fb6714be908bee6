#include "host/cli/local_commands.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "framework/version.h"
#include "host/config/load_config.h"
#include "host/requests/requests.h"

namespace unirun {
namespace {

struct TreeSize {
  std::size_t supervisors = 0, workers = 0;
};

TreeSize size_of(const SupervisorSpec& spec) {
  TreeSize size;
  for (const ChildSpec& child : spec.children) {
    if (!child.supervisor) {
      ++size.workers;
      continue;
    }
    const TreeSize below = size_of(*child.supervisor);
    size.supervisors += 1 + below.supervisors;
    size.workers += below.workers;
  }
  return size;
}

std::string counted(std::size_t count, std::string_view one) {
  return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

}  // namespace

ExitCode validate_command(const std::string& path, bool as_json, const Console& console) {
  LoadOptions options;
  options.check_python = true;
  options.python_in_host = true;  // `unirun up` sees to it.
  const LoadOutcome outcome = load_config(path, options);
  if (as_json) {
    nlohmann::json answer = {{"valid", outcome.ok()}, {"faults", to_json(outcome.faults)}};
    if (outcome.ok()) answer["config"] = to_json(*outcome.config);
    console.out << answer.dump() << std::endl;
  } else if (outcome.ok()) {
    const TreeSize size = size_of(outcome.config->root);
    console.out << fmt::format("{}: valid, {} and {}\n", path,
                               counted(size.supervisors, "supervisor"),
                               counted(size.workers, "worker"));
  } else {
    console.error << describe(outcome.faults, path);
  }
  return outcome.ok() ? ExitCode::done : ExitCode::invalid_configuration;
}

ExitCode schema_command(const Console& console) {
  console.out << schema_text();
  return ExitCode::done;
}

ExitCode version_command(bool as_json, const Console& console) {
  if (as_json) {
    console.out << nlohmann::json{{"version", version()}, {"api", control_api_version}}.dump()
                << std::endl;
  } else {
    console.out << "unirun " << version() << std::endl;
  }
  return ExitCode::done;
}

}  // namespace unirun
