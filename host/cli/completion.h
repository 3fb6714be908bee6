// Scripts that complete `unirun` in a shell, made from the command line itself: what it accepts is
// what they offer, and nothing has to be kept in step.

#pragma once

#include <optional>
#include <string>
#include <vector>

namespace unirun {

// The words of one command, as a shell may offer them.
struct CommandWords {
  struct Option {
    std::vector<std::string> names;  // "-f", "--follow"
    std::string description;
    bool takes_value = false;
  };
  // What stands for a positional argument.
  enum class Argument { none, file, service, words };

  std::string name;
  std::string description;
  std::vector<Option> options;
  Argument argument = Argument::none;
  std::vector<std::string> words;  // For Argument::words.
};

// "bash", "zsh" or "fish"; nothing for another.
[[nodiscard]] std::optional<std::string> completion_script(
    const std::string& shell, const std::vector<CommandWords>& commands,
    const std::vector<CommandWords::Option>& common);

[[nodiscard]] const std::vector<std::string>& completion_shells();

}  // namespace unirun
