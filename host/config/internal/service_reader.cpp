#include "host/config/internal/service_reader.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <regex>
#include <utility>

#include "executors/native/service_registry.h"
#include "host/config/internal/json_values.h"
#include "host/config/internal/places.h"
#include "host/config/internal/schema_faults.h"

namespace unirun {

ServiceReader::ServiceReader(const LoadOptions& options, FaultList& faults)
    : options_(options), faults_(faults) {}

std::string ServiceReader::absolute(const std::string& path) const {
  return in_directory(around_.directory, path);
}

std::optional<std::string> ServiceReader::variable(const std::string& name) const {
  if (options_.environment) return options_.environment(name);
  const char* value = std::getenv(name.c_str());
  return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
}

std::shared_ptr<ServiceSpec> ServiceReader::read(const JsonCursor& from) {
  auto service = std::make_shared<ServiceSpec>();
  service->target = read_target(from);
  const JsonCursor arguments = from.member("arguments");
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    service->arguments.push_back(arguments.element(i).value());
  }
  const JsonCursor config = from.member("config");
  if (config && config.value().is_object()) service->config = config.value();

  std::string cwd;
  read_text(from.member("cwd"), cwd);
  service->cwd = absolute(cwd);
  read_flag(from.member("clear_env"), service->clear_env);
  read_environment(from.member("env"), *service);
  read_account(from.member("user"), service->user);
  read_account(from.member("group"), service->group);
  service->groups = texts_of(from.member("groups"));
  if (const std::string* umask = from.member("umask").text()) {
    service->umask = static_cast<unsigned>(std::strtoul(umask->c_str(), nullptr, 8));
  }
  read_limits(from.member("rlimits"), *service);
  if (const JsonCursor nice = from.member("nice")) read_number(nice, service->nice.emplace(0));
  read_flag(from.member("no_new_privs"), service->no_new_privs);
  service->readiness = read_readiness(from.member("readiness"));
  service->liveness = read_liveness(from.member("liveness"));
  read_output(from.member("output"), service->output);
  read_text(from.member("log_level"), service->log_level);
  read_signal(from.member("stop_signal"), service->stop_signal, faults_);
  service->success_exit_codes = codes_of(from.member("success_exit_codes"));
  if (const JsonCursor codes = from.member("no_restart_exit_codes")) {
    service->no_restart_exit_codes = codes_of(codes);
  }
  read_start(from, *service);
  return service;
}

void ServiceReader::read_start(const JsonCursor& from, ServiceSpec& to) {
  std::string word;
  read_text(from.member("start"), word);
  if (word == "fresh") to.start = StartMode::fresh;
  if (const JsonCursor preload = from.member("preload")) to.preload = texts_of(preload);
  read_number(from.member("standby"), to.standby);
  std::string after;
  read_text(from.member("standby_after"), after);
  if (after == "reaped") to.standby_after = StandbyAfter::reaped;
  if (std::holds_alternative<PythonTarget>(to.target)) {
    if (to.standby > 0 && to.start == StartMode::fresh) {
      faults_.add(from.member("standby").pointer(),
                  "standbys are forked from a template; say \"start\": \"template\"");
    }
    return;
  }
  for (const char* key : {"start", "preload", "standby", "standby_after"}) {
    if (const JsonCursor member = from.member(key)) {
      faults_.add(member.pointer(),
                  fmt::format("\"{}\" is for a \"python\" target, which can be forked", key));
    }
  }
}

ServiceTarget ServiceReader::read_target(const JsonCursor& from) {
  if (const std::string* target = from.member("python").text()) {
    PythonTarget python{*target, around_.python};
    // A file stands beside the configuration; a module is found by the interpreter.
    const std::size_t colon = target->rfind(':');
    if (colon != std::string::npos && colon > 3 && target->compare(colon - 3, 3, ".py") == 0) {
      python.target = absolute(target->substr(0, colon)) + target->substr(colon);
    }
    read_text(from.member("interpreter"), python.interpreter);
    if (python.interpreter.find('/') != std::string::npos) {
      python.interpreter = absolute(python.interpreter);
    }
    return python;
  }
  if (const std::string* name = from.member("native").text()) {
    return read_native(from.member("native").pointer(), *name);
  }
  return CommandTarget{texts_of(from.member("command"))};
}

// A shared object stands beside the configuration, as a Python file does.
NativeTarget ServiceReader::read_native(const std::string& pointer, std::string name) {
  const std::size_t colon = name.rfind(':');
  if (colon != std::string::npos) name = absolute(name.substr(0, colon)) + name.substr(colon);
  ServiceRegistry& registry = options_.native_services != nullptr ? *options_.native_services
                                                                  : ServiceRegistry::of_program();
  if (const Status known = registry.check(name); !known) {
    faults_.add(pointer, known.error().message);
  }
  return NativeTarget{std::move(name)};
}

void ServiceReader::read_environment(const JsonCursor& from, ServiceSpec& to) {
  if (from && from.value().is_object()) {
    for (const auto& [name, value] : from.value().items()) {
      const JsonCursor entry = from.member(name);
      if (value.is_object()) {
        if (auto secret = read_secret(entry)) {
          if (!secret->empty()) secrets.push_back(*secret);
          to.env[name] = std::move(*secret);
          to.secret_env.insert(name);
        }
      } else {
        read_text(entry, to.env[name]);
      }
    }
  }
  if (!std::holds_alternative<PythonTarget>(to.target) || around_.python_path.empty()) return;
  std::string search = fmt::format("{}", fmt::join(around_.python_path, ":"));
  const auto own = to.env.find("PYTHONPATH");
  const std::string inherited = own != to.env.end() ? own->second
                                : to.clear_env      ? std::string()
                                                    : variable("PYTHONPATH").value_or("");
  if (inherited.rfind(search, 0) == 0)
    search = inherited;  // It has been here before.
  else if (!inherited.empty())
    search += ':' + inherited;
  to.env["PYTHONPATH"] = std::move(search);
}

std::optional<std::string> ServiceReader::read_secret(const JsonCursor& from) {
  if (const std::string* name = from.member("env").text()) {
    auto value = variable(*name);
    if (!value) {
      faults_.add(from.member("env").pointer(),
                  fmt::format("the environment has no {}; set it before the host starts",
                              describe_value(*name)));
    }
    return value;
  }
  const std::string* file = from.member("file").text();
  if (file == nullptr) return std::nullopt;
  std::ifstream stream(absolute(*file), std::ios::binary);
  std::string value((std::istreambuf_iterator<char>(stream)), {});
  if (!stream.is_open() || stream.bad()) {
    faults_.add(from.member("file").pointer(),
                fmt::format("cannot read {}: it must be a file that this user may read",
                            describe_value(absolute(*file))));
    return std::nullopt;
  }
  if (!value.empty() && value.back() == '\n') value.pop_back();
  return value;
}

void ServiceReader::read_limits(const JsonCursor& from, ServiceSpec& to) {
  if (!from || !from.value().is_object()) return;
  for (const auto& [name, value] : from.value().items()) {
    const JsonCursor entry = from.member(name);
    ResourceLimit limit;
    if (value.is_object()) {
      limit.soft = read_limit(entry.member("soft"));
      const JsonCursor hard = entry.member("hard");
      limit.hard = hard ? read_limit(hard) : limit.soft;
      if (limit.hard && (!limit.soft || *limit.soft > *limit.hard)) {
        faults_.add(entry.pointer(),
                    "the soft limit is above the hard one; it may be at most that");
      }
    } else {
      limit.soft = limit.hard = read_limit(entry);
    }
    to.rlimits.emplace(name, limit);
  }
}

// Nothing is unlimited.
std::optional<std::uint64_t> ServiceReader::read_limit(const JsonCursor& from) {
  std::uint64_t limit = 0;
  const std::string* text = from.text();
  if (text != nullptr && *text == "unlimited") return std::nullopt;
  read_number(from, limit);
  read_size(from, limit, faults_);
  return limit;
}

// Of a probe. A name would have to be asked for on the loop, again and again.
void ServiceReader::read_address(const JsonCursor& from, std::string& to) {
  read_text(from, to);
  unsigned char parsed[sizeof(in6_addr)];
  if (to == "localhost" || ::inet_pton(AF_INET, to.c_str(), parsed) == 1 ||
      ::inet_pton(AF_INET6, to.c_str(), parsed) == 1) {
    return;
  }
  const bool is_url = to.find("://") != std::string::npos;
  faults_.add(from.pointer(),
              fmt::format("{} is {}", describe_value(to),
                          is_url ? "a URL; give address, port and path, and for https use exec "
                                   "with curl"
                                 : "no address in numbers, such as \"127.0.0.1\" or \"::1\""));
}

// The shape of all this is the schema's affair.
HttpCheck ServiceReader::read_http_check(const JsonCursor& from) {
  HttpCheck check;
  read_address(from.member("address"), check.address);
  read_number(from.member("port"), check.port);
  read_text(from.member("path"), check.path);
  const JsonCursor headers = from.member("headers");
  if (headers && headers.value().is_object()) {
    for (const auto& [name, value] : headers.value().items()) {
      read_text(headers.member(name), check.headers[name]);
    }
  }
  const JsonCursor status = from.member("status");
  if (const std::string* range = status.text(); range != nullptr && range->size() == 7) {
    check.status_from = static_cast<unsigned>(std::strtoul(range->c_str(), nullptr, 10));
    check.status_to = static_cast<unsigned>(std::strtoul(range->c_str() + 4, nullptr, 10));
  } else if (status && status.value().is_number_integer()) {
    read_number(status, check.status_from);
    check.status_to = check.status_from;
  }
  if (check.status_from > check.status_to) {
    faults_.add(status.pointer(), fmt::format("the range {} is empty; the lower status comes first",
                                              describe_value(status.value())));
  }
  return check;
}

Readiness ServiceReader::read_readiness(const JsonCursor& from) {
  std::string kind = "none";
  read_text(from.member("kind"), kind);
  if (kind == "notify") return NotifyReadiness{};
  if (kind == "fd") {
    DescriptorReadiness fd;
    read_number(from.member("fd"), fd.descriptor);
    return fd;
  }
  if (kind == "tcp") {
    TcpReadiness tcp;
    read_address(from.member("address"), tcp.address);
    read_number(from.member("port"), tcp.port);
    read_duration(from.member("interval"), tcp.interval, faults_);
    return tcp;
  }
  if (kind == "http") {
    HttpReadiness http{.check = read_http_check(from)};
    read_duration(from.member("interval"), http.interval, faults_);
    read_duration(from.member("timeout"), http.timeout, faults_);
    return http;
  }
  if (kind == "exec") {
    ExecReadiness exec;
    exec.argv = texts_of(from.member("command"));
    read_duration(from.member("interval"), exec.interval, faults_);
    read_duration(from.member("timeout"), exec.timeout, faults_);
    return exec;
  }
  if (kind == "log") {
    LogReadiness log;
    read_text(from.member("pattern"), log.pattern);
    try {
      const std::regex compiled(log.pattern);
    } catch (const std::regex_error& error) {
      faults_.add(from.member("pattern").pointer(),
                  fmt::format("{} is not a regular expression (ECMAScript): {}",
                              describe_value(log.pattern), error.what()));
    }
    return log;
  }
  return NoReadiness{};
}

Liveness ServiceReader::read_liveness(const JsonCursor& from) {
  std::string kind = "none";
  read_text(from.member("kind"), kind);
  if (kind == "heartbeat") {
    HeartbeatLiveness heartbeat;
    read_duration(from.member("timeout"), heartbeat.timeout, faults_);
    return heartbeat;
  }
  if (kind == "loop_lag") {
    LoopLagLiveness lag;
    read_duration(from.member("timeout"), lag.timeout, faults_);
    return lag;
  }
  if (kind == "tcp") {
    TcpLiveness tcp;
    read_address(from.member("address"), tcp.address);
    read_number(from.member("port"), tcp.port);
    read_duration(from.member("interval"), tcp.interval, faults_);
    read_duration(from.member("timeout"), tcp.timeout, faults_);
    read_number(from.member("max_failures"), tcp.max_failures);
    return tcp;
  }
  if (kind == "http") {
    HttpLiveness http{.check = read_http_check(from)};
    read_duration(from.member("interval"), http.interval, faults_);
    read_duration(from.member("timeout"), http.timeout, faults_);
    read_number(from.member("max_failures"), http.max_failures);
    return http;
  }
  if (kind == "exec") {
    ExecLiveness exec;
    exec.argv = texts_of(from.member("command"));
    read_duration(from.member("interval"), exec.interval, faults_);
    read_duration(from.member("timeout"), exec.timeout, faults_);
    read_number(from.member("max_failures"), exec.max_failures);
    return exec;
  }
  return NoLiveness{};
}

void ServiceReader::read_output(const JsonCursor& from, OutputSpec& to) {
  read_flag(from.member("capture"), to.capture);
  std::uint64_t ring = to.ring_bytes;
  read_size(from.member("ring"), ring, faults_);
  to.ring_bytes = static_cast<std::size_t>(ring);
  read_text(from.member("file"), to.file);
  to.file = in_directory(around_.state_dir, to.file);
  read_size(from.member("max_file_size"), to.max_file_bytes, faults_);
  read_number(from.member("max_files"), to.max_files);
}

}  // namespace unirun
