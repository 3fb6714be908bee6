#include "host/cli/completion.h"

#include <fmt/format.h>

namespace unirun {
namespace {

using Option = CommandWords::Option;

// Services are asked of the host that runs; without one nothing is offered.
constexpr const char* list_services =
    "unirun status --json 2>/dev/null | grep -o '\"path\":\"[^\"]*\"' | cut -d'\"' -f4";

// In single quotes, for any of the shells.
std::string shell_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::string names_of(const std::vector<Option>& options) {
  std::string names;
  for (const Option& option : options) {
    for (const std::string& name : option.names) names += (names.empty() ? "" : " ") + name;
  }
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, " "));
}

std::string bash_script(const std::vector<CommandWords>& commands,
                        const std::vector<Option>& common) {
  std::string names, cases;
  for (const CommandWords& command : commands) {
    names += (names.empty() ? "" : " ") + command.name;
    std::string words = names_of(command.options) + ' ' + names_of(common);
    std::string extra;
    switch (command.argument) {
      case CommandWords::Argument::file: extra = "files=1"; break;
      case CommandWords::Argument::service:
        extra = fmt::format("words=\"$words $({})\"", list_services);
        break;
      case CommandWords::Argument::words: words += ' ' + joined(command.words); break;
      case CommandWords::Argument::none: break;
    }
    cases += fmt::format("    {}) words={}{}{} ;;\n", command.name, shell_quoted(words),
                         extra.empty() ? "" : "; ", extra);
  }
  return fmt::format(R"(# bash completion for unirun; load it with: source <(unirun completion bash)
_unirun() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" command="" words="" files="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) ;; *) command="$word"; break ;; esac
  done
  case "$command" in
    "") words={} ;;
{}  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ -n "$files" ]; then COMPREPLY+=($(compgen -f -- "$current")); fi
}}
complete -o filenames -F _unirun unirun
)",
                     shell_quoted(names + ' ' + names_of(common)), cases);
}

// "--name[what it is]:value:", as _arguments has it.
std::string zsh_option(const Option& option, const std::string& name) {
  std::string description;
  for (const char c : option.description) {
    if (c == '[' || c == ']' || c == ':') description += '\\';
    description += c;
  }
  return shell_quoted(
      fmt::format("{}[{}]{}", name, description, option.takes_value ? ":value:" : ""));
}

std::string zsh_script(const std::vector<CommandWords>& commands,
                       const std::vector<Option>& common) {
  std::string list, cases;
  for (const CommandWords& command : commands) {
    list += "    " + shell_quoted(command.name + ':' + command.description) + '\n';
    std::string arguments;
    for (const std::vector<Option>* options : {&command.options, &common}) {
      for (const Option& option : *options) {
        for (const std::string& name : option.names) arguments += ' ' + zsh_option(option, name);
      }
    }
    switch (command.argument) {
      case CommandWords::Argument::file: arguments += " '*:file:_files'"; break;
      case CommandWords::Argument::service:
        arguments +=
            fmt::format(" {}", shell_quoted(fmt::format("*:service:($({}))", list_services)));
        break;
      case CommandWords::Argument::words:
        arguments += ' ' + shell_quoted("1:word:(" + joined(command.words) + ')');
        break;
      case CommandWords::Argument::none: break;
    }
    cases += fmt::format("    {}) _arguments{} ;;\n", command.name, arguments);
  }
  return fmt::format(R"(#compdef unirun
# zsh completion for unirun; load it with: source <(unirun completion zsh)
_unirun() {{
  local -a commands=(
{}  )
  if (( CURRENT == 2 )); then
    _describe 'command' commands
    return
  fi
  local command="${{words[2]}}"
  shift words
  (( CURRENT-- ))
  case "$command" in
{}  esac
}}
compdef _unirun unirun
)",
                     list, cases);
}

std::string fish_option(const Option& option, const std::string& condition) {
  std::string line = "complete -c unirun" + condition;
  for (const std::string& name : option.names) {
    line += name.rfind("--", 0) == 0 ? " -l " + name.substr(2) : " -s " + name.substr(1);
  }
  if (option.takes_value) line += " -r";
  return line + " -d " + shell_quoted(option.description) + '\n';
}

std::string fish_script(const std::vector<CommandWords>& commands,
                        const std::vector<Option>& common) {
  std::string script =
      "# fish completion for unirun; load it with: unirun completion fish | source\n"
      "complete -c unirun -f\n";
  for (const Option& option : common) script += fish_option(option, "");
  for (const CommandWords& command : commands) {
    script += fmt::format("complete -c unirun -n __fish_use_subcommand -a {} -d {}\n", command.name,
                          shell_quoted(command.description));
    const std::string seen = " -n " + shell_quoted("__fish_seen_subcommand_from " + command.name);
    for (const Option& option : command.options) script += fish_option(option, seen);
    switch (command.argument) {
      case CommandWords::Argument::file: script += "complete -c unirun" + seen + " -F\n"; break;
      case CommandWords::Argument::service:
        script += "complete -c unirun" + seen + " -a " +
                  shell_quoted(fmt::format("({})", list_services)) + '\n';
        break;
      case CommandWords::Argument::words:
        script += "complete -c unirun" + seen + " -a " + shell_quoted(joined(command.words)) + '\n';
        break;
      case CommandWords::Argument::none: break;
    }
  }
  return script;
}

}  // namespace

const std::vector<std::string>& completion_shells() {
  static const std::vector<std::string> shells{"bash", "zsh", "fish"};
  return shells;
}

std::optional<std::string> completion_script(const std::string& shell,
                                             const std::vector<CommandWords>& commands,
                                             const std::vector<Option>& common) {
  if (shell == "bash") return bash_script(commands, common);
  if (shell == "zsh") return zsh_script(commands, common);
  if (shell == "fish") return fish_script(commands, common);
  return std::nullopt;
}

}  // namespace unirun
