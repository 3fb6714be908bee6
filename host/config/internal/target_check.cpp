#include "host/config/internal/target_check.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "host/config/internal/schema_faults.h"

namespace unirun {
namespace {

bool is_program(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         access(path.c_str(), X_OK) == 0;
}

// "{instance}" is filled in at launch, so what it will be cannot be judged here.
bool has_placeholder(const std::string& text) { return text.find('{') != std::string::npos; }

bool is_number(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return std::isdigit(c) != 0; });
}

class TargetCheck {
 public:
  TargetCheck(const SpecReader& reader, FaultList& faults) : reader_(reader), faults_(faults) {}

  void check(const WrittenWorker& worker) {
    const ServiceSpec& service = *worker.service;
    const bool in_place = check_directory(worker.pointer, service);
    if (const auto* command = std::get_if<CommandTarget>(&service.target)) {
      if (in_place) check_program(worker.pointer + "/command/0", command->argv, service);
    } else if (const auto* python = std::get_if<PythonTarget>(&service.target)) {
      check_interpreter(worker.pointer, python->interpreter, service);
    }
    if (const auto* exec = std::get_if<ExecReadiness>(&service.readiness)) {
      check_program(worker.pointer + "/readiness/command/0", exec->argv, service);
    }
    if (const auto* exec = std::get_if<ExecLiveness>(&service.liveness)) {
      check_program(worker.pointer + "/liveness/command/0", exec->argv, service);
    }
    check_user(worker.pointer + "/user", service.user);
    check_group(worker.pointer + "/group", service.group);
    for (std::size_t i = 0; i < service.groups.size(); ++i) {
      check_group(fmt::format("{}/groups/{}", worker.pointer, i), service.groups[i]);
    }
  }

 private:
  bool check_directory(const std::string& pointer, const ServiceSpec& service) {
    if (service.cwd.empty() || has_placeholder(service.cwd)) return true;
    struct stat status {};
    if (stat(service.cwd.c_str(), &status) != 0) {
      faults_.add(pointer + "/cwd", fmt::format("{}: {}; expected a directory that is there",
                                                describe_value(service.cwd), std::strerror(errno)));
      return false;
    }
    if (S_ISDIR(status.st_mode)) return true;
    faults_.add(pointer + "/cwd",
                fmt::format("{} is not a directory", describe_value(service.cwd)));
    return false;
  }

  void check_program(const std::string& pointer, const std::vector<std::string>& argv,
                     const ServiceSpec& service) {
    if (argv.empty() || argv[0].empty() || has_placeholder(argv[0])) return;
    const std::string path = path_of(service);
    if (!is_found(argv[0], path, service.cwd)) say_not_found(pointer, argv[0], path);
  }

  void check_interpreter(const std::string& pointer, const std::string& interpreter,
                         const ServiceSpec& service) {
    const std::string path = path_of(service);
    if (is_found(interpreter, path, service.cwd)) return;
    say_not_found(pointer + "/interpreter", interpreter, path);
  }

  void say_not_found(const std::string& pointer, const std::string& program,
                     const std::string& path) {
    ConfigFault fault;
    fault.pointer = pointer;
    fault.found = describe_value(program);
    if (program.find('/') != std::string::npos) {
      fault.expected = "an executable file";
      fault.message = fmt::format("{} is no program that this user may run; expected {}",
                                  fault.found, fault.expected);
    } else {
      fault.expected = "a program in " + path;
      fault.message = fmt::format(
          "there is no program {} in the PATH of this service; install it, "
          "or write its whole path",
          fault.found);
    }
    faults_.add(std::move(fault));
  }

  [[nodiscard]] std::string path_of(const ServiceSpec& service) const {
    const auto own = service.env.find("PATH");
    if (own != service.env.end()) return own->second;
    return reader_.services().variable("PATH").value_or("/usr/local/bin:/usr/bin:/bin");
  }

  // A tree of a thousand workers names few programs.
  bool is_found(const std::string& program, const std::string& path, const std::string& cwd) {
    const auto [entry, is_new] = found_.try_emplace({program, path, cwd}, false);
    if (is_new) entry->second = !find_program(program, path, cwd).empty();
    return entry->second;
  }

  void check_user(const std::string& pointer, const std::string& user) {
    if (user.empty() || is_number(user) || !known_users_.insert(user).second) return;
    if (getpwnam(user.c_str()) != nullptr) return;
    known_users_.erase(user);
    faults_.add(pointer, fmt::format("there is no user {} on this machine", describe_value(user)));
  }

  void check_group(const std::string& pointer, const std::string& group) {
    if (group.empty() || is_number(group) || !known_groups_.insert(group).second) return;
    if (getgrnam(group.c_str()) != nullptr) return;
    known_groups_.erase(group);
    faults_.add(pointer,
                fmt::format("there is no group {} on this machine", describe_value(group)));
  }

  const SpecReader& reader_;
  FaultList& faults_;
  std::map<std::tuple<std::string, std::string, std::string>, bool> found_;
  std::set<std::string> known_users_, known_groups_;
};

}  // namespace

std::string find_program(const std::string& name, const std::string& path, const std::string& cwd) {
  const auto seen_from_cwd = [&](const std::string& file) {
    return file[0] == '/' || cwd.empty() ? file : cwd + '/' + file;
  };
  if (name.empty()) return {};
  if (name.find('/') != std::string::npos) {
    return is_program(seen_from_cwd(name)) ? seen_from_cwd(name) : std::string();
  }
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    const std::string directory = end == begin ? "." : path.substr(begin, end - begin);
    const std::string candidate = seen_from_cwd(directory + '/' + name);
    if (is_program(candidate)) return candidate;
    begin = end + 1;
  }
  return {};
}

void check_targets(const SpecReader& reader, FaultList& faults) {
  TargetCheck check(reader, faults);
  for (const WrittenWorker& worker : reader.workers) check.check(worker);
}

}  // namespace unirun
