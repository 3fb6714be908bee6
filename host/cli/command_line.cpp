#include "host/cli/command_line.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "framework/nearest.h"
#include "framework/time.h"
#include "framework/version.h"
#include "host/cli/client_commands.h"
#include "host/cli/completion.h"
#include "host/cli/find_host.h"
#include "host/cli/local_commands.h"
#include "host/cli/up_command.h"
#include "host/config/host_config.h"

namespace unirun {
namespace {

// Everything the options of all commands write to, and the command that was chosen.
class CommandLine {
 public:
  CommandLine(const Console& console, const CommandDoor& door) : console_(console), door_(door) {
    app_.name("unirun");
    app_.require_subcommand(1);
    app_.fallthrough();  // --socket and --name may stand behind the command as well.
    app_.set_version_flag("--version", "unirun " + std::string(version()));
    app_.add_option("--socket", host_.socket, "The control socket of the host that is meant")
        ->envname("UNIRUN_SOCKET");
    app_.add_option("--name", host_.name, "The name of the host that is meant");
    app_.footer(
        "Exit codes: 0 done, 1 failure, 2 usage, 3 a required service failed to start,\n"
        "4 host unreachable, 5 no such service, 78 invalid configuration.");
    add_local_commands();
    add_questions();
    add_commands();
  }

  ExitCode run(int argc, const char* const* argv) {
    up_.words.assign(argv + std::min(argc, 1), argv + argc);
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      const bool was_asked = error.get_exit_code() == 0;  // --help, --version
      app_.exit(error, console_.out, console_.error);
      if (was_asked) return ExitCode::done;
      suggest(argc, argv);
      return ExitCode::usage;
    }
    return chosen_();
  }

 private:
  using Action = std::function<ExitCode()>;

  CLI::App* add(const std::string& name, const std::string& description, Action action) {
    CLI::App* command = app_.add_subcommand(name, description);
    command->callback([this, action = std::move(action)] { chosen_ = action; });
    return command;
  }

  // A command that speaks to a host.
  CLI::App* add_client(const std::string& name, const std::string& description,
                       std::function<ExitCode(ClientCommands&)> action) {
    return add(name, description, [this, action = std::move(action)] {
      host_.runtime_directory = default_runtime_dir();
      const auto socket = find_host(host_);
      if (!socket) return console_.fail(socket.error());
      ClientCommands commands{ControlClient(*socket), as_json_, console_};
      return action(commands);
    });
  }

  void take_json(CLI::App* command, const std::string& what) {
    command->add_flag("--json", as_json_, what);
  }
  void take_service(CLI::App* command) {
    command->add_option("SERVICE", service_, "Its path in the tree, such as pipeline/ingest")
        ->required();
  }
  void take_config(CLI::App* command) {
    command->add_option("CONFIG", up_.config, "A configuration: JSON, comments allowed")
        ->required();
  }

  void add_local_commands();
  void add_questions();
  void add_commands();
  void suggest(int argc, const char* const* argv) const;
  ExitCode complete() const;

  const Console& console_;
  const CommandDoor& door_;
  CLI::App app_{"Keeps services alive by Erlang's rules."};
  Action chosen_;
  HostChoice host_;
  UpOptions up_;
  std::string run_for_;
  std::string service_;
  std::string shell_;
  ClientCommands::EventQuery query_;
  std::uint64_t count_ = 0;
  unsigned instances_ = 0;
  bool follow_ = false;
  bool as_json_ = false;
  bool now_ = false;
};

const CLI::Validator a_duration(
    [](std::string& text) {
      const auto duration = parse_duration(text);
      return duration ? std::string() : duration.error().message;
    },
    "DURATION");

void CommandLine::add_local_commands() {
  CLI::App* up = add("up", "Runs a host in the foreground", [this] {
    up_.as_json = as_json_;
    if (!run_for_.empty()) up_.run_for = *parse_duration(run_for_);
    return up_command(up_, console_, door_);
  });
  take_config(up);
  up->add_option("--for", run_for_, "Stop in order after this long, such as 10s")
      ->check(a_duration);
  take_json(up, "One event a line, then a summary");

  CLI::App* validate = add("validate", "Says all that is wrong with a configuration",
                           [this] { return validate_command(up_.config, as_json_, console_); });
  take_config(validate);
  take_json(validate, "The faults, or the configuration with every default filled in");

  add("schema", "Prints the JSON Schema of configurations",
      [this] { return schema_command(console_); });

  CLI::App* version =
      add("version", "Prints the version", [this] { return version_command(as_json_, console_); });
  take_json(version, "As JSON");

  CLI::App* completion = add("completion", "Prints a script that completes commands in a shell",
                             [this] { return complete(); });
  completion->add_option("SHELL", shell_, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember(completion_shells()));
}

void CommandLine::add_questions() {
  CLI::App* status = add_client("status", "Shows every service in a table",
                                [](ClientCommands& host) { return host.status(); });
  take_json(status, "The host's answer");

  CLI::App* tree = add_client("tree", "Draws the tree of supervisors and services",
                              [](ClientCommands& host) { return host.tree(); });
  take_json(tree, "The host's answer");

  CLI::App* events = add_client("events", "Shows what has happened", [this](ClientCommands& host) {
    query_.follow = follow_;
    return host.events(query_);
  });
  events->add_flag("-f,--follow", follow_, "Go on with what happens from now on");
  events->add_option("-n,--count", query_.count, "So many of the latest")->capture_default_str();
  events->add_option("--path", query_.path, "Of this service, or of those below this supervisor");
  events->add_option("--kind", query_.kinds, "Of this kind, such as service_exited; repeatable");
  take_json(events, "One event a line");

  CLI::App* logs =
      add_client("logs", "Shows what a service has printed", [this](ClientCommands& host) {
        return host.logs(service_, follow_, count_ > 0 ? count_ : 100);
      });
  take_service(logs);
  logs->add_flag("-f,--follow", follow_, "Go on with what it prints from now on");
  logs->add_option("-n,--lines", count_, "So many of the latest; default 100");
  take_json(logs, "One line of output a line, with time and stream");

  CLI::App* why = add_client(
      "why", "Tells why a service died, and what was done",
      [this](ClientCommands& host) { return host.why(service_, count_ > 0 ? count_ : 3); });
  take_service(why);
  why->add_option("-n,--count", count_, "So many deaths; default 3");
  take_json(why, "The records");
}

void CommandLine::add_commands() {
  const std::pair<const char*, const char*> verbs[] = {
      {"start", "Starts a service that is down"},
      {"stop", "Stops a service; it stays down until it is started"},
      {"restart", "Stops a service and starts it again"},
      {"kill", "Ends a service without asking; its restart type decides what follows"},
  };
  for (const auto& [verb, description] : verbs) {
    CLI::App* command =
        add_client(verb, description, [this, name = std::string(verb)](ClientCommands& host) {
          return host.command(name, service_);
        });
    take_service(command);
    take_json(command, "The host's answer");
  }

  CLI::App* scale =
      add_client("scale", "Changes how many instances a service has",
                 [this](ClientCommands& host) { return host.scale(service_, instances_); });
  take_service(scale);
  scale->add_option("INSTANCES", instances_, "How many there are to be")->required();
  take_json(scale, "The host's answer");

  CLI::App* shutdown = add_client("shutdown", "Ends the host, its services in order before it",
                                  [this](ClientCommands& host) { return host.shutdown(now_); });
  shutdown->add_flag("--now", now_, "Kill them instead of asking");
  take_json(shutdown, "The host's answer");
}

// A misspelt command is answered with the one that was probably meant.
void CommandLine::suggest(int argc, const char* const* argv) const {
  std::vector<std::string> names;
  for (const CLI::App* command : app_.get_subcommands(nullptr))
    names.push_back(command->get_name());
  if (!app_.get_subcommands().empty() || argc < 2) return;
  const std::string meant = nearest(argv[1], names);
  if (!meant.empty()) console_.error << fmt::format("Did you mean \"unirun {}\"?\n", meant);
}

std::vector<CommandWords::Option> options_of(const CLI::App& command) {
  std::vector<CommandWords::Option> options;
  for (const CLI::Option* option : command.get_options()) {
    // --help is said for the command itself; each has its own.
    const bool is_repeated = command.get_parent() != nullptr && option == command.get_help_ptr();
    if (option->get_positional() || is_repeated) continue;
    CommandWords::Option words;
    for (const std::string& name : option->get_snames()) words.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) words.names.push_back("--" + name);
    words.description = option->get_description();
    words.takes_value = option->get_items_expected_max() > 0;
    options.push_back(std::move(words));
  }
  return options;
}

ExitCode CommandLine::complete() const {
  std::vector<CommandWords> commands;
  for (const CLI::App* command : app_.get_subcommands(nullptr)) {
    CommandWords words{command->get_name(),
                       command->get_description(),
                       options_of(*command),
                       CommandWords::Argument::none,
                       {}};
    using Argument = CommandWords::Argument;
    if (command->get_option_no_throw("CONFIG") != nullptr) words.argument = Argument::file;
    if (command->get_option_no_throw("SERVICE") != nullptr) words.argument = Argument::service;
    if (command->get_option_no_throw("SHELL") != nullptr) {
      words.argument = Argument::words;
      words.words = completion_shells();
    }
    commands.push_back(std::move(words));
  }
  console_.out << completion_script(shell_, commands, options_of(app_)).value_or("") << std::flush;
  return ExitCode::done;
}

}  // namespace

ExitCode run_command_line(int argc, const char* const* argv, const Console& console,
                          const CommandDoor& door) {
  return CommandLine(console, door).run(argc, argv);
}

}  // namespace unirun
