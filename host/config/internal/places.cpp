#include "host/config/internal/places.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace unirun {

Places Places::of_process() {
  return Places([](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
  });
}

std::optional<std::string> Places::directory(const std::string& variable) const {
  auto path = environment_(variable);
  if (!path || path->empty() || (*path)[0] != '/') return std::nullopt;
  return path;
}

std::string Places::state_dir(std::string_view host_name) const {
  if (const auto state = directory("XDG_STATE_HOME")) {
    return fmt::format("{}/unirun/{}", *state, host_name);
  }
  if (const auto home = directory("HOME")) {
    return fmt::format("{}/.local/state/unirun/{}", *home, host_name);
  }
  return fmt::format("/tmp/unirun-{}/state/{}", getuid(), host_name);
}

std::string Places::runtime_dir() const {
  if (const auto runtime = directory("XDG_RUNTIME_DIR")) return *runtime + "/unirun";
  return fmt::format("/tmp/unirun-{}", getuid());
}

std::string in_directory(const std::string& directory, const std::string& path) {
  if (path.empty() || path[0] == '/') return path;
  std::string joined = (std::filesystem::path(directory) / path).lexically_normal().string();
  if (joined.size() > 1 && joined.back() == '/') joined.pop_back();
  return joined;
}

std::string default_python() {
  std::error_code error;
  const auto binary = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const auto beside = binary.parent_path() / "python3";
    if (access(beside.c_str(), X_OK) == 0) return beside.string();
  }
  return "python3";
}

}  // namespace unirun
