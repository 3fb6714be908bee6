// Environment is what a process is started with: NAME=value, each name once, in order of name.
//
// A value; the pointers it hands out live until it changes.

#pragma once

#include <memory>
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

  // Copies that are made from now on share what is here, and hold only what they set themselves.
  void share();

  // Empty view if unset; `is_set` tells that from an empty value.
  [[nodiscard]] std::string_view get(std::string_view name) const;
  [[nodiscard]] bool is_set(std::string_view name) const;

  // For execve: ends with a null pointer.
  [[nodiscard]] std::vector<const char*> pointers() const;

 private:
  using Entries = std::vector<std::string>;  // "NAME=value", sorted by name.

  void keep_own();  // All of it: to change what is shared.

  Entries own_;                          // Stands before what is shared.
  std::shared_ptr<const Entries> base_;  // Null: nothing is.
};

}  // namespace unirun
