// ServiceState is what a supervisor knows of a child at a moment. OTP's which_children shows
// `undefined` for the ones that do not run and `restarting` for backing_off.

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace unirun {

enum class ServiceState : std::uint8_t {
  stopped,      // Not running, and nobody means it to (or not yet).
  starting,     // Launched and not ready, or waiting for what it depends on.
  running,      // Ready.
  stopping,     // Asked to stop.
  backing_off,  // Died, or failed to start; will be tried again.
  failed,       // Down for good: its exit said so.
  completed,    // Ended by itself, as it should.
};

[[nodiscard]] std::string_view to_string(ServiceState state);
[[nodiscard]] std::optional<ServiceState> service_state_from(std::string_view word);

}  // namespace unirun
