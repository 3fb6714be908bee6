#include "framework/service_state.h"

#include "framework/require.h"

namespace unirun {

std::string_view to_string(ServiceState state) {
  switch (state) {
    case ServiceState::stopped: return "stopped";
    case ServiceState::starting: return "starting";
    case ServiceState::running: return "running";
    case ServiceState::stopping: return "stopping";
    case ServiceState::backing_off: return "backing_off";
    case ServiceState::failed: return "failed";
    case ServiceState::completed: return "completed";
  }
  unreachable();
}

std::optional<ServiceState> service_state_from(std::string_view word) {
  for (int i = 0; i <= static_cast<int>(ServiceState::completed); ++i) {
    const auto state = static_cast<ServiceState>(i);
    if (to_string(state) == word) return state;
  }
  return std::nullopt;
}

}  // namespace unirun
