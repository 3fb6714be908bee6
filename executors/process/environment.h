// Environment is what a process is started with: NAME=value, each name once, in order of name.
//
// A value; the pointers it hands out live until it changes.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace unirun {

class Environment {
 public:
  Environment() = default;

  // What this process was given. Not synchronised with setenv(): ask early, keep the answer.
  [[nodiscard]] static Environment of_this_process();

  void set(std::string_view name, std::string_view value);
  void erase(std::string_view name);

  // Nothing but these names stay.
  void keep_only(const std::vector<std::string_view>& names);

  // Empty view if unset; `is_set` tells that from an empty value.
  [[nodiscard]] std::string_view get(std::string_view name) const;
  [[nodiscard]] bool is_set(std::string_view name) const;

  // For execve: ends with a null pointer.
  [[nodiscard]] std::vector<const char*> pointers() const;

 private:
  [[nodiscard]] std::vector<std::string>::const_iterator find(std::string_view name) const;

  std::vector<std::string> entries_;
};

}  // namespace unirun
