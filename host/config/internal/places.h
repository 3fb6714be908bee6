// Where a host keeps its files when its configuration does not say, and what runs its Python.

#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace unirun {

class Places {
 public:
  using Environment = std::function<std::optional<std::string>(const std::string&)>;

  // REQUIRES: `environment` can be called.
  explicit Places(Environment environment) : environment_(std::move(environment)) {}
  [[nodiscard]] static Places of_process();

  // $XDG_STATE_HOME/unirun/<name>, else ~/.local/state/unirun/<name>; without a home, below /tmp.
  [[nodiscard]] std::string state_dir(std::string_view host_name) const;

  // $XDG_RUNTIME_DIR/unirun, else /tmp/unirun-<uid>.
  [[nodiscard]] std::string runtime_dir() const;

 private:
  // An absolute path; a relative one is nothing, as the XDG specification has it.
  [[nodiscard]] std::optional<std::string> directory(const std::string& variable) const;

  Environment environment_;
};

// `path` as seen from `directory`, without "." and ".."; an empty one stays empty.
[[nodiscard]] std::string in_directory(const std::string& directory, const std::string& path);

// The python3 beside the running binary (a virtual environment has both), else "python3".
[[nodiscard]] std::string default_python();

}  // namespace unirun
