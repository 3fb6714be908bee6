#include "host/config/internal/spec_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "host/config/internal/json_values.h"
#include "host/config/internal/schema_faults.h"

namespace unirun {
SpecReader::SpecReader(const LoadOptions& options, FaultList& faults)
    : options_(options), faults_(faults), services_(options, faults) {}

namespace {

// A spec and its document differ in a few members: "children/0/supervisor/period" is below the
// entry itself, one object deeper.
std::string as_written(std::string member) {
  constexpr std::string_view of_supervisor = "/supervisor";
  if (member.rfind(of_supervisor, 0) == 0) member.erase(0, of_supervisor.size());
  if (member == "/service") return {};
  return member == "/period" ? "/restart_intensity/period" : member;
}

bool lives_in_host(const std::string& executor) {
  return executor == "thread" || executor == "async";
}

}  // namespace

void SpecReader::place_root(std::string flags_pointer, std::string children_pointer) {
  pointers_[""] = std::move(flags_pointer);
  pointers_["children"] = std::move(children_pointer);
}

std::optional<std::string> SpecReader::pointer_to(const std::string& where, bool is_own) const {
  std::optional<std::string> pointer;
  std::size_t known = where.size();
  while (true) {
    const std::string prefix = where.substr(0, known);
    if (!is_own && later_instances_.count(prefix) != 0) return std::nullopt;
    const auto found = pointers_.find(prefix);
    if (found != pointers_.end() && !pointer) {
      const std::string member = known == 0 && !where.empty() ? '/' + where : where.substr(known);
      pointer = found->second + as_written(member);
    }
    if (known == 0) return pointer.value_or("");
    const std::size_t slash = where.rfind('/', known - 1);
    known = slash == std::string::npos ? 0 : slash;
  }
}

// ---- Supervisors and children ----

void SpecReader::read_flags(const JsonCursor& from, SupervisorSpec& to) {
  using S = RestartStrategy;
  read_word(from.member("strategy"),
            {S::one_for_one, S::one_for_all, S::rest_for_one, S::simple_one_for_one}, to.strategy);
  const JsonCursor intensity = from.member("restart_intensity");
  read_number(intensity.member("max_restarts"), to.max_restarts);
  read_duration(intensity.member("period"), to.period, faults_);
  using A = AutoShutdown;
  read_word(from.member("auto_shutdown"), {A::never, A::any_significant, A::all_significant},
            to.auto_shutdown);
  read_word(from.member("on_exhausted"), {OnExhausted::escalate, OnExhausted::probe},
            to.on_exhausted);
  read_duration(from.member("probe_interval"), to.probe_interval, faults_);
}

std::vector<ChildSpec> SpecReader::read_children(const JsonCursor& entries, const std::string& path,
                                                 const std::string& where) {
  std::vector<ChildSpec> children;
  const std::string prefix = where.empty() ? "children/" : where + "/children/";
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const JsonCursor entry = entries.element(i);
    const std::string at = prefix + std::to_string(children.size());
    ChildSpec child = read_child(entry, path, at);
    unsigned instances = 0;
    read_number(entry.member("instances"), instances);
    if (instances == 0 || !child.service) {
      pointers_[at] = entry.pointer();
      children.push_back(std::move(child));
      continue;
    }
    ServiceGroup group{path, child.id, std::move(child), std::min(instances, most_instances)};
    children.reserve(children.size() + group.instances);  // Kept for the host's life.
    for (unsigned instance = 1; instance <= group.instances; ++instance) {
      const std::string at_instance = prefix + std::to_string(children.size());
      pointers_[at_instance] = entry.pointer();
      if (instance > 1) later_instances_.insert(at_instance);
      children.push_back(instance_of(group, instance));
    }
    groups.push_back(std::move(group));
  }
  depend_on_instances(children, path, prefix);
  return children;
}

// "depends_on": ["worker"] means every instance of it, where it has some.
void SpecReader::depend_on_instances(std::vector<ChildSpec>& children, const std::string& path,
                                     const std::string& prefix) {
  for (std::size_t i = 0; i < children.size(); ++i) {
    const std::string at = prefix + std::to_string(i);
    const std::string pointer = pointers_[at] + "/depends_on/";
    std::vector<Dependency> expanded;
    for (std::size_t written = 0; written < children[i].depends_on.size(); ++written) {
      const Dependency& dependency = children[i].depends_on[written];
      const auto group = std::find_if(groups.begin(), groups.end(), [&](const ServiceGroup& known) {
        return known.supervisor == path && known.id == dependency.id;
      });
      std::vector<std::string> meant{dependency.id};
      if (group != groups.end()) {
        meant.clear();
        for (unsigned n = 1; n <= group->instances; ++n) {
          meant.push_back(fmt::format("{}-{}", group->id, n));
        }
      }
      for (std::string& id : meant) {
        pointers_[fmt::format("{}/depends_on/{}", at, expanded.size())] =
            pointer + std::to_string(written);
        expanded.push_back({std::move(id), dependency.condition});
      }
    }
    children[i].depends_on = std::move(expanded);
  }
}

ChildSpec SpecReader::read_child(const JsonCursor& from, const std::string& path,
                                 const std::string& where) {
  ChildSpec child;
  read_text(from.member("id"), child.id);
  read_text(from.member("executor"), child.executor);
  read_word(from.member("restart"), {Restart::permanent, Restart::transient, Restart::temporary},
            child.restart);
  if (const std::string* shutdown = from.member("shutdown").text()) {
    if (*shutdown == "brutal_kill") {
      child.shutdown = BrutalKill{};
    } else if (*shutdown == "infinity") {
      child.shutdown = Infinity{};
    } else {
      Duration timeout{};
      read_duration(from.member("shutdown"), timeout, faults_);
      child.shutdown = timeout;
    }
  }
  read_flag(from.member("significant"), child.significant);
  read_duration(from.member("start_timeout"), child.start_timeout, faults_);
  read_flag(from.member("allow_overlap"), child.allow_overlap);
  read_backoff(from.member("backoff"), child.backoff);
  read_dependencies(from.member("depends_on"), child);

  const JsonCursor children = from.member("children");
  if (!children) {
    std::shared_ptr<ServiceSpec> service = services_.read(from);
    check_executor(from, child);
    check_target(from, child.executor, service->target);
    if (lives_in_host(child.executor)) check_surroundings(from, child.executor, *service);
    check_liveness(from, child.executor, *service);
    const bool on_loop = child.executor == "async" || child.executor == "async_process";
    const bool in_host = child.executor == "async" || child.executor == "thread";
    workers.push_back({from.pointer(), service, on_loop, in_host});
    child.service = std::move(service);
  } else {
    auto supervisor = std::make_shared<SupervisorSpec>();
    read_flags(from, *supervisor);
    const std::string own_path = path.empty() ? child.id : path + '/' + child.id;
    supervisor->children = read_children(children, own_path, where + "/supervisor");
    child.supervisor = std::move(supervisor);
  }
  return child;
}

void SpecReader::check_executor(const JsonCursor& from, const ChildSpec& child) {
  if (options_.executors.count(child.executor) != 0) return;
  const std::vector<std::string> available(options_.executors.begin(), options_.executors.end());
  const JsonCursor word = from.member("executor");
  ConfigFault fault;
  fault.pointer = word ? word.pointer() : from.pointer();
  fault.found = describe_value(child.executor);
  fault.expected = "one of " + join_words(available, nullptr);
  fault.message = fmt::format("the executor {} is not available in this build; expected {}",
                              fault.found, fault.expected);
  faults_.add(std::move(fault));
}

// Where a target cannot live, nobody is to find out at its start.
void SpecReader::check_target(const JsonCursor& from, const std::string& executor,
                              const ServiceTarget& target) {
  if (options_.executors.count(executor) == 0) return;  // Told already.
  const bool in_host = lives_in_host(executor);
  const auto refuse = [&](const char* member, std::string_view why) {
    const JsonCursor written = from.member(member);
    if (!written) return;  // It has no target at all, which has been told.
    faults_.add(written.pointer(), fmt::format("the executor \"{}\" runs {}", executor, why));
  };
  if (std::holds_alternative<CommandTarget>(target)) {
    if (in_host) {
      refuse("command",
             "services inside the host, and a command needs a process of its own; give it the "
             "executor \"process\"");
    } else if (executor == "async_process") {
      refuse("command",
             "Python targets on an event loop of their own; a command belongs to the executor "
             "\"process\"");
    }
  } else if (std::holds_alternative<PythonTarget>(target)) {
    if (in_host && !options_.python_in_host) {
      refuse("python",
             "services inside the host, and there is no Python in this one; give it the executor "
             "\"process\", or run the host by `python -m unirun`");
    }
  } else if (executor == "async_process") {
    refuse("native",
           "Python targets on an event loop of their own; a native service belongs to \"thread\" "
           "or \"async\"");
  } else if (!in_host) {
    refuse("native",
           "processes, and a native service lives inside the host; give it the executor "
           "\"thread\" or \"async\"");
  }
}

// What belongs to a process would be the host's own, and that of all others in it.
void SpecReader::check_surroundings(const JsonCursor& from, const std::string& executor,
                                    const ServiceSpec& service) {
  const auto refuse = [&](bool is_set, const char* member) {
    if (!is_set || !from.member(member)) return;
    faults_.add(from.member(member).pointer(),
                fmt::format("\"{}\" needs a process of its own, and the executor \"{}\" runs "
                            "services inside the host; leave it out, or give it the executor "
                            "\"process\"",
                            member, executor));
  };
  refuse(!service.cwd.empty(), "cwd");
  refuse(!service.env.empty(), "env");
  refuse(service.clear_env, "clear_env");
  refuse(!service.user.empty(), "user");
  refuse(!service.group.empty(), "group");
  refuse(!service.groups.empty(), "groups");
  refuse(service.umask.has_value(), "umask");
  refuse(!service.rlimits.empty(), "rlimits");
  refuse(service.nice.has_value(), "nice");
  refuse(service.no_new_privs, "no_new_privs");
  refuse(std::holds_alternative<DescriptorReadiness>(service.readiness), "readiness");
}

// The others have no part in the loop of the host.
void SpecReader::check_liveness(const JsonCursor& from, const std::string& executor,
                                const ServiceSpec& service) {
  if (executor == "async" || !std::holds_alternative<LoopLagLiveness>(service.liveness)) return;
  const JsonCursor written = from.member("liveness").member("kind");
  if (!written) return;
  faults_.add(written.pointer(),
              fmt::format("\"loop_lag\" needs the executor \"async\", which runs services on the "
                          "loop of the host, and this is \"{}\"; use \"heartbeat\"",
                          executor));
}

void SpecReader::read_backoff(const JsonCursor& from, Backoff::Limits& to) {
  using K = Backoff::Kind;
  read_word(from.member("kind"), {K::immediate, K::fixed, K::linear, K::exponential}, to.kind);
  read_duration(from.member("initial"), to.initial, faults_);
  read_duration(from.member("max"), to.max, faults_);
  read_number(from.member("factor"), to.factor);
  read_number(from.member("jitter"), to.jitter);
  read_duration(from.member("stable_after"), to.stable_after, faults_);
}

void SpecReader::read_dependencies(const JsonCursor& from, ChildSpec& to) {
  using C = DependencyCondition;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const JsonCursor entry = from.element(i);
    Dependency dependency;
    read_text(entry, dependency.id);
    read_text(entry.member("id"), dependency.id);
    read_word(entry.member("condition"), {C::started, C::ready, C::completed},
              dependency.condition);
    to.depends_on.push_back(std::move(dependency));
  }
}

}  // namespace unirun
