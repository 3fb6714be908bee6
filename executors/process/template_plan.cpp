#include "executors/process/template_plan.h"

#include "executors/process/host_mark.h"
#include "executors/process/spawn_plan.h"

namespace unirun {

std::string TemplatePlan::key() const {
  std::string key;
  const auto add = [&key](std::string_view part) { key.append(part).append(1, '\0'); };
  const auto number = [&add](auto value) { add(std::to_string(value)); };
  for (const std::string& argument : request.argv) add(argument);
  for (const char* entry : request.environment.pointers()) add(entry != nullptr ? entry : "");
  for (const std::string& module : preload) add(module);
  add("");
  add(target);
  add(request.cwd);
  const Credentials& credentials = request.credentials;
  number(credentials.user ? static_cast<long>(*credentials.user) : -1);
  number(credentials.group ? static_cast<long>(*credentials.group) : -1);
  for (const gid_t group : credentials.groups.value_or(std::vector<gid_t>{})) number(group);
  number(credentials.groups.has_value());
  number(request.umask ? static_cast<long>(*request.umask) : -1);
  for (const RlimitSetting& setting : request.rlimits) {
    number(setting.resource);
    number(setting.limit.rlim_cur);
    number(setting.limit.rlim_max);
  }
  add("");
  add(request.nice ? std::to_string(*request.nice) : "");
  number(request.no_new_privs);
  return key;
}

TemplatePlan plan_template(const Launch& launch, const SpawnRequest& request, nlohmann::json& own) {
  const ServiceSpec& spec = *launch.service;
  TemplatePlan plan;
  plan.request = request;
  plan.request.descriptors.clear();
  Environment& environment = plan.request.environment;
  for (const char* name :
       {launch_mark_variable, "UNIRUN_RUN", "UNIRUN_CONTROL_FD", "UNIRUN_FAULT_FD"}) {
    environment.erase(name);
  }
  own = nlohmann::json::object();
  for (const auto& [name, value] : spec.env) {
    const std::string filled = fill_placeholders(value, launch);
    if (filled == value) continue;
    environment.erase(name);
    own[name] = filled;
  }
  if (spec.preload) {
    plan.preload = *spec.preload;
  } else {
    plan.target = std::get<PythonTarget>(spec.target).target;
  }
  return plan;
}

}  // namespace unirun
