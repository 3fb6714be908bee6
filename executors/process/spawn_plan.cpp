#include "executors/process/spawn_plan.h"

#include <fmt/format.h>

#include <utility>

#include "executors/process/host_mark.h"

namespace unirun {
namespace {

std::string replace_all(std::string text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

Result<std::vector<std::string>> arguments_of(const Launch& launch, const RunWorld& world) {
  const ServiceSpec& spec = *launch.service;
  if (const auto* python = std::get_if<PythonTarget>(&spec.target)) {
    // Its arguments travel over the control channel, with their types.
    return std::vector<std::string>{
        python->interpreter.empty() ? world.python_interpreter : python->interpreter, "-m",
        "unirun.worker"};
  }
  const auto* command = std::get_if<CommandTarget>(&spec.target);
  if (command == nullptr) {
    return Error{Errc::start_failed,
                 fmt::format("target: '{}' is a native service, and the process executor runs "
                             "commands and Python targets",
                             std::get<NativeTarget>(spec.target).name)};
  }
  if (command->argv.empty() || command->argv.front().empty()) {
    return Error{Errc::start_failed, "target: the command is empty"};
  }
  std::vector<std::string> arguments;
  for (const std::string& argument : command->argv) {
    arguments.push_back(fill_placeholders(argument, launch));
  }
  for (const nlohmann::json& argument : spec.arguments) {
    arguments.push_back(argument.is_string() ? argument.get<std::string>() : argument.dump());
  }
  return arguments;
}

Environment environment_of(const Launch& launch, const RunWorld& world,
                           const Credentials& credentials) {
  const ServiceSpec& spec = *launch.service;
  Environment environment = world.environment;
  if (spec.clear_env) environment.keep_only({"PATH", "HOME", "LANG", "USER"});
  if (!credentials.name.empty()) {
    environment.set("USER", credentials.name);
    environment.set("LOGNAME", credentials.name);
    environment.set("HOME", credentials.home);
  }
  for (const auto& [name, value] : spec.env) {
    environment.set(name, fill_placeholders(value, launch));
  }
  environment.set(host_mark_variable, world.host_mark);
  environment.set(launch_mark_variable, std::to_string(world.last_launch));
  environment.set("UNIRUN_RUN", std::to_string(static_cast<std::uint64_t>(launch.run)));
  return environment;
}

rlim_t limit_of(const std::optional<std::uint64_t>& limit) {
  return limit ? static_cast<rlim_t>(*limit) : RLIM_INFINITY;
}

Result<std::vector<RlimitSetting>> rlimits_of(const ServiceSpec& spec, const RunWorld& world) {
  std::vector<RlimitSetting> settings;
  // The host needs many descriptors; a service that uses select() breaks where it gets more than
  // 1024 without having asked.
  if (world.open_files && spec.rlimits.count("nofile") == 0) {
    settings.push_back({RLIMIT_NOFILE, *world.open_files});
  }
  for (const auto& [name, limit] : spec.rlimits) {
    const auto resource = rlimit_resource(name);
    if (!resource) {
      return Error{Errc::start_failed,
                   fmt::format("rlimit '{}': there is no such resource; write it as getrlimit(2) "
                               "has it, in small letters: \"nofile\", \"core\", \"as\", ...",
                               name)};
    }
    settings.push_back({*resource, {limit_of(limit.soft), limit_of(limit.hard)}});
  }
  return settings;
}

}  // namespace

std::string fill_placeholders(std::string_view text, const Launch& launch) {
  std::string filled(text);
  if (filled.find('{') == std::string::npos) return filled;
  const std::optional<unsigned>& instance = launch.instance;
  filled = replace_all(std::move(filled), "{id}", launch.id);
  filled = replace_all(std::move(filled), "{path}", launch.path);
  return replace_all(std::move(filled), "{instance}", instance ? std::to_string(*instance) : "");
}

Result<SpawnRequest> plan_spawn(const Launch& launch, const RunWorld& world) {
  const ServiceSpec& spec = *launch.service;
  SpawnRequest request;
  auto arguments = arguments_of(launch, world);
  if (!arguments) return arguments.error();
  request.argv = std::move(*arguments);

  if (!spec.user.empty() || !spec.group.empty() || !spec.groups.empty()) {
    auto credentials = resolve_credentials(spec.user, spec.group, spec.groups);
    if (!credentials) return credentials.error();
    request.credentials = std::move(*credentials);
  }
  request.environment = environment_of(launch, world, request.credentials);

  auto rlimits = rlimits_of(spec, world);
  if (!rlimits) return rlimits.error();
  request.rlimits = std::move(*rlimits);
  request.cwd = fill_placeholders(spec.cwd, launch);
  request.umask = spec.umask;
  request.nice = spec.nice;
  request.no_new_privs = spec.no_new_privs;
  return request;
}

}  // namespace unirun
