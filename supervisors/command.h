// Commands: what one may ask of a supervisor, as values. OTP's calls under OTP's names, and two of
// ours: restart (stop, then start) and kill (a crash on purpose).

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/run_id.h"
#include "supervisors/child_spec.h"

namespace unirun {

// Names one call, so that its answer finds the caller. Given by the shell.
enum class CallId : std::uint64_t { none = 0 };

// A child by its id, or by the handle of its present (or last) run.
using ChildRef = std::variant<std::string, RunId>;

using Arguments = std::vector<nlohmann::json>;

namespace command {
struct StartChild {
  std::shared_ptr<const ChildSpec> spec;
};
struct StartDynamicChild {
  std::shared_ptr<const Arguments> arguments;  // Appended to the template's.
};
struct TerminateChild {
  ChildRef child;
};
struct RestartChild {
  ChildRef child;
};
struct DeleteChild {
  ChildRef child;
};
struct Restart {
  ChildRef child;
};
struct Kill {
  ChildRef child;
};
struct CodeChange {
  std::shared_ptr<const SupervisorSpec> spec;
};
}  // namespace command

using Command = std::variant<command::StartChild, command::StartDynamicChild,
                             command::TerminateChild, command::RestartChild, command::DeleteChild,
                             command::Restart, command::Kill, command::CodeChange>;

}  // namespace unirun
