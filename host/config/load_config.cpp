#include "host/config/load_config.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "framework/nearest.h"
#include "host/config/internal/fault_list.h"
#include "host/config/internal/json_cursor.h"
#include "host/config/internal/json_text.h"
#include "host/config/internal/places.h"
#include "host/config/internal/schema_faults.h"
#include "host/config/internal/spec_reader.h"
#include "host/config/internal/target_check.h"

namespace unirun {
namespace {

using nlohmann::json;

constexpr std::size_t largest_file = 64 << 20;

ConfigFault fault_of_whole(std::string message) {
  ConfigFault fault;
  fault.message = std::move(message);
  return fault;
}

struct FileText {
  std::string text;
  std::optional<ConfigFault> fault;
};

FileText read_whole(const std::string& path) {
  const auto failed = [](std::string why) { return FileText{{}, fault_of_whole(std::move(why))}; };
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    const int error = errno;
    const char* remedy = error == ENOENT   ? "; check the path, or see `unirun schema`"
                         : error == EACCES ? "; it must be readable for this user"
                                           : "";
    return failed(fmt::format("cannot read this file: {}{}", std::strerror(error), remedy));
  }
  if (S_ISDIR(status.st_mode)) return failed("this is a directory; expected a JSON file");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    return failed(fmt::format("cannot read this file: {}; it must be readable for this user",
                              std::strerror(errno)));
  }
  FileText file;
  std::vector<char> chunk(1 << 16);
  while (stream.read(chunk.data(), static_cast<std::streamsize>(chunk.size())) ||
         stream.gcount() > 0) {
    file.text.append(chunk.data(), static_cast<std::size_t>(stream.gcount()));
    if (file.text.size() > largest_file) return failed("this file is larger than 64 MiB");
  }
  if (stream.bad()) return failed("cannot read this file to its end");
  return file;
}

// ---- The host around the tree ----

std::string text_at(const JsonCursor& cursor, std::string otherwise) {
  const std::string* text = cursor.text();
  return text != nullptr ? *text : std::move(otherwise);
}

void read_host(const JsonCursor& from, const SpecReader& reader, const LoadOptions& options,
               HostConfig& to) {
  const Places places([&](const std::string& name) { return reader.services().variable(name); });
  to.name = text_at(from.member("name"), to.name);
  const auto path_at = [&](const char* key, std::string otherwise) {
    return in_directory(to.directory, text_at(from.member(key), std::move(otherwise)));
  };
  to.state_dir = path_at("state_dir", places.state_dir(to.name));
  to.runtime_dir = path_at("runtime_dir", places.runtime_dir());
  to.control_socket = path_at("control_socket", fmt::format("{}/{}.sock", to.runtime_dir, to.name));
  const std::string journal = text_at(from.member("journal"), "journal.sqlite");
  if (journal != "off") to.journal_file = in_directory(to.state_dir, journal);
  const std::string level = text_at(from.member("log_level"), "");
  for (const Severity known :
       {Severity::debug, Severity::info, Severity::warning, Severity::error}) {
    if (to_string(known) == level) to.log_level = known;
  }
  to.python =
      text_at(from.member("python"), options.python.empty() ? default_python() : options.python);
  if (to.python.find('/') != std::string::npos) to.python = in_directory(to.directory, to.python);
  const JsonCursor search = from.member("python_path");
  for (std::size_t i = 0; i < search.size(); ++i) {
    to.python_path.push_back(in_directory(to.directory, text_at(search.element(i), "")));
  }
  const JsonCursor seed = from.member("random_seed");
  if (seed && seed.value().is_number_unsigned()) to.seed = seed.value().get<std::uint64_t>();
}

// sockaddr_un holds 107 characters and a zero; better told here than by bind().
void check_socket_path(const JsonCursor& host, const HostConfig& config, FaultList& faults) {
  constexpr std::size_t longest = 107;
  if (config.control_socket.size() <= longest) return;
  const JsonCursor own = host.member("control_socket");
  faults.add(own ? own.pointer() : "/host",
             fmt::format("the path of the control socket has {} characters, and the system allows "
                         "{}: {}; name a shorter \"control_socket\"",
                         config.control_socket.size(), longest, config.control_socket));
}

// ---- What supervision says of the specs ----

// A dependency as it was written, and the siblings it may mean.
struct WrittenDependency {
  std::string id;
  std::vector<std::string> siblings;

  [[nodiscard]] bool is_known() const {
    return std::find(siblings.begin(), siblings.end(), id) != siblings.end();
  }
};

// Nothing if the pointer is to something else.
std::optional<WrittenDependency> dependency_at(const json& document, const std::string& pointer) {
  const std::size_t at = pointer.find("/depends_on/");
  if (at == std::string::npos) return std::nullopt;
  const JsonCursor written(document.at(json::json_pointer(pointer)), pointer);
  const json::json_pointer entry(pointer.substr(0, at));
  WrittenDependency dependency;
  dependency.id = text_at(written.member("id"), text_at(written, ""));
  for (const json& sibling : document.at(entry.parent_pointer())) {
    if (&sibling == &document.at(entry)) continue;
    dependency.siblings.push_back(text_at(JsonCursor(sibling, "").member("id"), ""));
  }
  return dependency;
}

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void add_spec_faults(const std::vector<SpecFault>& found, const SpecReader& reader,
                     const json& document, FaultList& faults) {
  for (const SpecFault& fault : found) {
    const auto pointer = reader.pointer_to(fault.where, fault.code == Errc::duplicate_id);
    if (!pointer) continue;
    const auto dependency = dependency_at(document, *pointer);
    const bool is_unknown = dependency && !dependency->is_known();
    // A word that was not understood became its default, and judging that would tell of faults
    // that nobody made.
    const bool judges_words = ends_with(fault.where, "/significant") || (dependency && !is_unknown);
    if (judges_words && faults.has_misread_word()) continue;
    // That a service has no target is seen by the shape, which can tell what was meant.
    if (ends_with(fault.where, "/service") && faults.has_shape_faults()) continue;
    faults.add(*pointer, fault.message,
               is_unknown ? nearest(dependency->id, dependency->siblings) : std::string());
  }
}

void check_world(const SpecReader& reader, const LoadOptions& options, FaultList& faults) {
  if (options.check_targets) check_targets(reader, faults);
  if (options.check_python) check_python_targets(reader, options.python_timeout, faults);
}

LoadOutcome judge(const json& document, HostConfig config, const LoadOptions& options,
                  std::vector<ConfigFault> earlier) {
  FaultList faults(std::move(earlier));
  faults.add_shape_faults(schema_faults(document));

  const JsonCursor root(document, "");
  const JsonCursor host = root.member("host");
  SpecReader reader(options, faults);
  read_host(host, reader, options, config);
  check_socket_path(host, config, faults);
  reader.set_surroundings({config.directory, config.state_dir, config.python, config.python_path});
  reader.place_root("/host/root", "/supervisors");
  reader.read_flags(host.member("root"), config.root);
  config.root.children = reader.read_children(root.member("supervisors"), "", "");
  add_spec_faults(check(config.root), reader, document, faults);
  check_world(reader, options, faults);

  LoadOutcome outcome;
  outcome.faults = faults.take();
  if (!outcome.faults.empty()) return outcome;
  config.groups = std::move(reader.groups);
  config.secrets = reader.services().secrets;
  outcome.config = std::move(config);
  return outcome;
}

std::string current_directory() {
  std::error_code ignored;
  return std::filesystem::current_path(ignored).string();
}

// The stem of the file's name, if it can be the name of a host.
std::string name_from(const std::string& origin) {
  std::string name;
  for (const char c : std::filesystem::path(origin).stem().string()) {
    const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_';
    name += is_plain ? c : '-';
  }
  const std::size_t first = name.find_first_not_of("-._");
  return first == std::string::npos ? "unirun" : name.substr(first);
}

HostConfig config_named(const std::string& origin, const LoadOptions& options) {
  HostConfig config;
  config.directory = options.directory.empty() ? current_directory() : options.directory;
  config.name = !options.host_name.empty() ? options.host_name : name_from(origin);
  return config;
}

LoadOutcome judge_text(std::string_view text, HostConfig config, const LoadOptions& options) {
  ParsedText parsed = parse_text(text);
  if (!parsed.is_json) return {std::nullopt, std::move(parsed.faults)};
  LoadOutcome outcome =
      judge(parsed.document, std::move(config), options, std::move(parsed.faults));
  locate(outcome.faults, text);
  std::stable_sort(outcome.faults.begin(), outcome.faults.end(),
                   [](const ConfigFault& a, const ConfigFault& b) {
                     return std::pair(a.line, a.column) < std::pair(b.line, b.column);
                   });
  return outcome;
}

}  // namespace

LoadOutcome load_config(const std::string& path, const LoadOptions& options) {
  FileText file = read_whole(path);
  if (file.fault) return {std::nullopt, {std::move(*file.fault)}};
  HostConfig config = config_named(path, options);
  std::error_code ignored;
  const auto absolute = std::filesystem::absolute(path, ignored).lexically_normal();
  config.origin = absolute.string();
  config.directory = absolute.parent_path().string();
  return judge_text(file.text, std::move(config), options);
}

LoadOutcome parse_config(std::string_view text, const std::string& origin,
                         const LoadOptions& options) {
  return judge_text(text, config_named(origin, options), options);
}

LoadOutcome config_from_json(const json& document, const LoadOptions& options) {
  return judge(document, config_named("", options), options, {});
}

ChildOutcome child_from_json(const json& child, const std::string& supervisor_path,
                             const HostConfig& host, const LoadOptions& options) {
  FaultList faults({});
  faults.add_shape_faults(schema_faults(child, "child"));
  SpecReader reader(options, faults);
  reader.set_surroundings({host.directory, host.state_dir, host.python, host.python_path});
  const json siblings = json::array({child});
  ChildOutcome outcome;
  outcome.children = reader.read_children(JsonCursor(siblings, ""), supervisor_path, "");
  check_world(reader, options, faults);
  outcome.groups = std::move(reader.groups);
  outcome.secrets = reader.services().secrets;
  outcome.faults = faults.take();
  // It was read as one of a list, which nobody has written.
  constexpr std::string_view place_in_list = "/0";
  for (ConfigFault& fault : outcome.faults) {
    if (fault.pointer.starts_with(place_in_list)) fault.pointer.erase(0, place_in_list.size());
  }
  return outcome;
}

}  // namespace unirun
