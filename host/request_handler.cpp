#include "host/request_handler.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "framework/nearest.h"
#include "host/config/spec_json.h"
#include "host/service_json.h"

namespace unirun {
namespace {

using nlohmann::json;

constexpr std::uint64_t most_rows = 10'000;
constexpr std::uint64_t most_instances = 10'000;
// So many deaths of one cause in a row are a storm: the cause, not the service, needs a look.
constexpr std::size_t storm_size = 3;

// RequestArguments come from Python as values and from a URL as texts; both are read here.
class RequestArguments {
 public:
  explicit RequestArguments(const json& values) : values_(values) {}

  [[nodiscard]] bool has(const char* name) const {
    return values_.is_object() && values_.contains(name) && !values_[name].is_null();
  }
  [[nodiscard]] std::string text(const char* name) const {
    return has(name) && values_[name].is_string() ? values_[name].get<std::string>() : "";
  }
  [[nodiscard]] bool flag(const char* name) const {
    return has(name) && (values_[name] == true || values_[name] == "true" || values_[name] == "1");
  }
  [[nodiscard]] Result<std::uint64_t> number(const char* name, std::uint64_t otherwise,
                                             std::uint64_t most) const {
    if (!has(name)) return otherwise;
    const json& value = values_[name];
    std::optional<std::uint64_t> number;
    if (value.is_number_integer() && value >= 0) number = value.get<std::uint64_t>();
    if (value.is_string()) {
      const auto& digits = value.get_ref<const std::string&>();
      std::uint64_t read = 0;
      const char* end = digits.data() + digits.size();
      if (std::from_chars(digits.data(), end, read) == std::from_chars_result{end, {}}) {
        number = read;
      }
    }
    if (number && *number <= most) return *number;
    return Error{Errc::invalid_argument, std::string(name) + " is a whole number from 0 to " +
                                             std::to_string(most) + ", not " + value.dump()};
  }
  // A list of texts, or one text with commas.
  [[nodiscard]] std::vector<std::string> words(const char* name) const {
    std::vector<std::string> words;
    if (!has(name)) return words;
    for (const json& word : values_[name]) {
      if (word.is_string() && values_[name].is_array()) words.push_back(word);
    }
    std::string rest = text(name);
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      if (comma > 0) words.push_back(rest.substr(0, comma));
      rest.erase(0, comma + 1);
    }
    return words;
  }

 private:
  const json& values_;
};

// A child of a supervisor as the OTP calls name it: by "id", or by the "run" of which_children.
Result<ChildRef> child_of(const RequestArguments& arguments) {
  if (arguments.has("run")) {
    const Result<std::uint64_t> run = arguments.number("run", 0, UINT64_MAX);
    if (!run) return run.error();
    return ChildRef{RunId{*run}};
  }
  std::string id = arguments.text("id");
  if (id.empty()) return Error{Errc::invalid_argument, "which child? Give its id"};
  return ChildRef{std::move(id)};
}

json handle_json(const ChildSnapshot& child) {
  return {{"id", child.id},
          {"path", child.path},
          {"pid", child.pid == 0 ? json() : json(child.pid)},
          {"run", child.active() ? json(static_cast<std::uint64_t>(child.run)) : json()},
          {"state", to_string(child.state)},
          {"type", to_string(child.type)}};
}

// Answers a command of the tree with the child that it was about.
SupervisionTree::Reply with_handle(HostHandle::Reply reply) {
  return [reply = std::move(reply)](Result<ChildSnapshot> child) {
    if (!child) return reply(child.error());
    reply(handle_json(*child));
  };
}

// Several answers that become one, when the last has come. Those who are to answer hold it.
class Gathered {
 public:
  Gathered(HostHandle::Reply reply, json answer)
      : answer_(std::move(answer)), reply_(std::move(reply)) {}
  ~Gathered() {
    if (failed_) {
      reply_(*failed_);
    } else if (waiting_ > 0) {
      reply_(Error{Errc::cancelled, "the host ended before this was done"});
    } else {
      reply_(std::move(answer_));
    }
  }
  Gathered(const Gathered&) = delete;
  Gathered& operator=(const Gathered&) = delete;

  // One more answer is to come; then it has come.
  void expect() { ++waiting_; }
  json& succeed() {
    --waiting_;
    return answer_;
  }
  void fail(Error error) {  // The first one is told.
    --waiting_;
    if (!failed_) failed_ = std::move(error);
  }

 private:
  json answer_;
  HostHandle::Reply reply_;
  std::size_t waiting_ = 0;
  std::optional<Error> failed_;
};

// How often the cause of each death has been seen, at this service, by this journal.
void add_how_often(json& deaths, const json& causes) {
  for (json& death : deaths) {
    for (const json& cause : causes) {
      if (cause.value("path", "") == death.value("path", "") &&
          cause.value("fingerprint", "") == death.value("fingerprint", "")) {
        death["seen"] = {{"count", cause["count"]}, {"since", cause["first"]}};
      }
    }
  }
}

// The latest deaths, if they are all of one cause.
json storm_of(const json& deaths) {
  if (deaths.empty()) return nullptr;
  const json& latest = deaths.front();
  const auto same = std::find_if(deaths.begin(), deaths.end(), [&](const json& death) {
    return death.value("fingerprint", "") != latest.value("fingerprint", "");
  });
  const auto count = static_cast<std::size_t>(same - deaths.begin());
  if (count < storm_size) return nullptr;
  return {{"fingerprint", latest.value("fingerprint", "")},
          {"count", count},
          {"since", deaths[count - 1].value("time", "")},
          {"summary", latest.value("summary", "")}};
}

}  // namespace

// ---- The list ----

struct RequestHandler::Entry {
  RequestInfo info;
  Method method;
};

const std::vector<RequestHandler::Entry>& RequestHandler::table() {
  using Self = RequestHandler;
  static const std::vector<Entry> entries = {
      {{"version", false}, &Self::version},
      {{"status", false}, &Self::status},
      {{"tree", false}, &Self::tree},
      {{"service", false}, &Self::service},
      {{"start", true}, &Self::start},
      {{"stop", true}, &Self::stop},
      {{"restart", true}, &Self::restart},
      {{"kill", true}, &Self::kill},
      {{"scale", true}, &Self::scale},
      {{"start_child", true}, &Self::start_child},
      {{"terminate_child", true}, &Self::terminate_child},
      {{"restart_child", true}, &Self::restart_child},
      {{"delete_child", true}, &Self::delete_child},
      {{"which_children", false}, &Self::which_children},
      {{"count_children", false}, &Self::count_children},
      {{"get_childspec", false}, &Self::get_childspec},
      {{"events", false}, &Self::events},
      {{"metrics", false}, &Self::metrics},
      {{"logs", false}, &Self::logs},
      {{"why", false}, &Self::why},
      {{"shutdown", true}, &Self::shutdown},
  };
  return entries;
}

const std::vector<RequestInfo>& requests() { return RequestHandler::infos(); }

const std::vector<RequestInfo>& RequestHandler::infos() {
  static const std::vector<RequestInfo> infos = [] {
    std::vector<RequestInfo> all;
    for (const Entry& entry : table()) all.push_back(entry.info);
    return all;
  }();
  return infos;
}

RequestHandler::RequestHandler(RequestScope scope)
    : scope_(std::move(scope)), groups_(scope_.config->groups) {
  const EventKinds kinds = EventKinds(EventKind::service_status_text) | EventKind::service_exited;
  subscription_ = scope_.events.subscribe(
      kinds,
      [this](const Event& event) {
        if (const auto* status = std::get_if<ServiceStatusText>(&event.payload)) {
          status_texts_[event.path] = status->text;
        } else {
          status_texts_.erase(event.path);
        }
      },
      "requests");
}

RequestHandler::~RequestHandler() = default;

void RequestHandler::handle(Request request, Reply reply) {
  for (const Entry& entry : table()) {
    if (entry.info.name == request.name) {
      return (this->*entry.method)(request.arguments, std::move(reply));
    }
  }
  std::vector<std::string> known;
  for (const Entry& entry : table()) known.emplace_back(entry.info.name);
  const std::string meant = nearest(request.name, known);
  reply(Error{Errc::unsupported, "there is no request \"" + request.name + "\"" +
                                     (meant.empty() ? "" : "; did you mean \"" + meant + "\"?")});
}

// ---- What a path names ----

ServiceGroup* RequestHandler::group(const std::string& path) {
  const auto [supervisor, id] = split_path(path);
  const auto found = std::find_if(groups_.begin(), groups_.end(), [&](const ServiceGroup& group) {
    return group.supervisor == supervisor && group.id == id;
  });
  return found == groups_.end() ? nullptr : &*found;
}

// The child of this path, or those of the group of this name.
Result<std::vector<ChildSnapshot>> RequestHandler::resolve(const std::string& path) {
  if (path.empty()) return Error{Errc::invalid_argument, "which service? Give its path"};
  if (Result<ChildSnapshot> child = scope_.tree.find(path)) return std::vector{*child};
  const ServiceGroup* named = group(path);
  if (!named) return unknown(path);
  std::vector<ChildSnapshot> children;
  for (unsigned instance = 1; instance <= named->instances; ++instance) {
    Result<ChildSnapshot> child =
        scope_.tree.which_child(named->supervisor, instance_of(*named, instance).id);
    if (child) children.push_back(std::move(*child));
  }
  return children;
}

Error RequestHandler::unknown(const std::string& path) const {
  std::vector<std::string> known;
  for (const ServiceGroup& group : groups_) {
    known.push_back(group.supervisor.empty() ? group.id : group.supervisor + '/' + group.id);
  }
  json services = json::array();
  const TreeSnapshot root = scope_.tree.snapshot();
  std::vector<const TreeSnapshot*> open{&root};
  while (!open.empty()) {
    const TreeSnapshot* node = open.back();
    open.pop_back();
    if (!node->child.path.empty()) known.push_back(node->child.path);
    for (const TreeSnapshot& child : node->children) open.push_back(&child);
  }
  std::string meant = nearest(path, known);
  // "ingest" for "pipeline/ingest": the path is missing, not misspelt.
  for (const std::string& candidate : known) {
    if (meant.empty() && split_path(candidate).second == path) meant = candidate;
  }
  return {Errc::not_found,
          "there is no service \"" + path + "\"" +
              (meant.empty() ? "; `unirun tree` shows all" : "; did you mean \"" + meant + "\"?")};
}

json RequestHandler::to_json(const ChildSnapshot& child) const {
  return service_json(child, status_texts_, scope_.loop.clock().now());
}

// ---- Queries ----

void RequestHandler::version(const json&, Reply reply) {
  reply(json{{"version", UNIRUN_VERSION},
             {"api", control_api_version},
             {"pid", ::getpid()},
             {"host", scope_.config->name}});
}

void RequestHandler::add_services(const TreeSnapshot& node, json& services) const {
  if (!node.child.path.empty()) services.push_back(to_json(node.child));
  for (const TreeSnapshot& child : node.children) add_services(child, services);
}

void RequestHandler::status(const json&, Reply reply) {
  json services = json::array();
  add_services(scope_.tree.snapshot(), services);
  reply(json{{"host", scope_.describe_host()}, {"services", std::move(services)}});
}

json RequestHandler::tree_json() const {
  json root = node_json(scope_.tree.snapshot(), status_texts_, scope_.loop.clock().now());
  return {{"host", scope_.describe_host()}, {"supervisors", std::move(root["children"])}};
}

void RequestHandler::tree(const json&, Reply reply) { reply(tree_json()); }

void RequestHandler::service(const json& arguments, Reply reply) {
  const std::string path = RequestArguments(arguments).text("path");
  const Result<std::vector<ChildSnapshot>> children = resolve(path);
  if (!children) return reply(children.error());
  if (children->size() == 1 && children->front().path == path) {
    return reply(to_json(children->front()));
  }
  json instances = json::array();
  for (const ChildSnapshot& child : *children) instances.push_back(to_json(child));
  reply(json{{"path", path}, {"instances", std::move(instances)}});
}

void RequestHandler::which_children(const json& arguments, Reply reply) {
  const auto children = scope_.tree.which_children(RequestArguments(arguments).text("path"));
  if (!children) return reply(children.error());
  json list = json::array();
  for (const ChildSnapshot& child : *children) list.push_back(handle_json(child));
  reply(json{{"children", std::move(list)}});
}

void RequestHandler::count_children(const json& arguments, Reply reply) {
  const auto counts = scope_.tree.count_children(RequestArguments(arguments).text("path"));
  if (!counts) return reply(counts.error());
  reply(json{{"specs", counts->specs},
             {"active", counts->active},
             {"supervisors", counts->supervisors},
             {"workers", counts->workers}});
}

void RequestHandler::get_childspec(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const Result<ChildRef> child = child_of(given);
  if (!child) return reply(child.error());
  const Result<ChildSpec> spec = scope_.tree.get_childspec(given.text("path"), *child);
  if (!spec) return reply(spec.error());
  reply(spec_to_json(*spec));
}

void RequestHandler::events(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const Result<std::uint64_t> since = given.number("since", 0, UINT64_MAX >> 1);
  const Result<std::uint64_t> limit = given.number("limit", 100, most_rows);
  if (!since) return reply(since.error());
  if (!limit) return reply(limit.error());
  EventFilter filter{
      .since = *since, .limit = *limit, .path = given.text("path"), .kinds = given.words("kinds")};
  for (const std::string& kind : filter.kinds) {
    if (event_kind_from(kind)) continue;
    return reply(Error{Errc::invalid_argument, "there is no kind of event \"" + kind + "\""});
  }
  scope_.journal.events(std::move(filter), [reply](Result<Journal::Rows> rows) {
    if (!rows) return reply(rows.error());
    reply(json{{"events", std::move(*rows)}});
  });
}

// Gathered here, where it can be read; put into words where that holds nobody up.
void RequestHandler::metrics(const json&, Reply reply) {
  auto sample = std::make_shared<MetricsSample>(
      scope_.metrics.sample(scope_.tree.snapshot(), scope_.loop.clock().now()));
  const json host = scope_.describe_host();
  sample->host = host.value("name", "");
  sample->version = host.value("version", "");
  sample->uptime = host.value("uptime", 0.0);
  if (const auto lag = host.find("loop_lag"); lag != host.end() && lag->is_object()) {
    sample->loop_lag = {lag->value("p50", 0.0), lag->value("p99", 0.0), lag->value("max", 0.0)};
  }
  auto text = std::make_shared<std::string>();
  scope_.loop.run_blocking([sample, text] { *text = metrics_text(*sample); },
                           [text, reply = std::move(reply)] {
                             reply(json{{"text", std::move(*text)}});
                           });
}

void RequestHandler::logs(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const Result<std::uint64_t> tail = given.number("tail", 100, most_rows);
  if (!tail) return reply(tail.error());
  const auto children = resolve(given.text("path"));
  if (!children) return reply(children.error());
  std::vector<std::pair<OutputLine, std::string>> lines;
  for (const ChildSnapshot& child : *children) {
    for (OutputLine& line : scope_.output.tail(child.path, *tail)) {
      lines.emplace_back(std::move(line), child.path);
    }
  }
  std::stable_sort(lines.begin(), lines.end(),
                   [](const auto& a, const auto& b) { return a.first.at < b.first.at; });
  if (lines.size() > *tail) {
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(*tail));
  }
  json list = json::array();
  for (const auto& [line, path] : lines) {
    list.push_back(unirun::to_json(line));
    list.back()["path"] = path;
  }
  reply(json{{"lines", std::move(list)}});
}

void RequestHandler::why(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const std::string path = given.text("path");
  const Result<std::uint64_t> limit = given.number("limit", 10, most_rows);
  if (!limit) return reply(limit.error());
  const auto children = resolve(path);
  std::vector<std::string> paths;
  if (children) {
    for (const ChildSnapshot& child : *children) paths.push_back(child.path);
  } else {
    paths.push_back(path);  // It may be gone, and remembered all the same.
  }
  const auto gathered = std::make_shared<Gathered>(
      [reply, path, limit = *limit,
       absent = children ? std::nullopt : std::optional(children.error())](Result<json> found) {
        if (!found) return reply(found);
        json& deaths = (*found)["deaths"];
        if (absent && deaths.empty()) return reply(*absent);
        std::sort(deaths.begin(), deaths.end(), [](const json& a, const json& b) {
          return a.value("sequence", std::uint64_t{0}) > b.value("sequence", std::uint64_t{0});
        });
        while (deaths.size() > limit) deaths.erase(deaths.size() - 1);
        add_how_often(deaths, (*found)["causes"]);
        (*found)["path"] = path;
        (*found)["storm"] = storm_of(deaths);
        reply(std::move(found));
      },
      json{{"deaths", json::array()}, {"causes", json::array()}});
  for (const std::string& one : paths) {
    gathered->expect();
    scope_.journal.deaths(one, std::max<std::size_t>(*limit, storm_size),
                          [gathered, one](Result<json> found) {
                            if (!found) return gathered->fail(found.error());
                            json& answer = gathered->succeed();
                            for (json& death : (*found)["deaths"]) {
                              answer["deaths"].push_back(std::move(death));
                            }
                            for (json& cause : (*found)["causes"]) {
                              cause["path"] = one;
                              answer["causes"].push_back(std::move(cause));
                            }
                          });
  }
}

// ---- Commands ----

void RequestHandler::on_each(const json& arguments, Reply reply, const Command& command) {
  const auto children = resolve(RequestArguments(arguments).text("path"));
  if (!children) return reply(children.error());
  const auto gathered =
      std::make_shared<Gathered>(std::move(reply), json{{"services", json::array()}});
  for (const ChildSnapshot& child : *children) {
    gathered->expect();
    command(split_path(child.path).first, child.id,
            [this, gathered, path = child.path](Result<ChildSnapshot> result) {
              if (result) {
                gathered->succeed()["services"].push_back(to_json(*result));
              } else {
                gathered->fail({result.error().code, path + ": " + result.error().message});
              }
            });
  }
}

// Idempotent: what runs is fine, and what waits for its restart need not wait any longer.
void RequestHandler::start(const json& arguments, Reply reply) {
  on_each(
      arguments, std::move(reply),
      [this](const std::string& supervisor, const std::string& id, SupervisionTree::Reply done) {
        scope_.tree.restart_child(supervisor, id,
                                  [this, supervisor, id, done](Result<ChildSnapshot> result) {
                                    if (!result && result.error().code == Errc::running) {
                                      return done(scope_.tree.which_child(supervisor, id));
                                    }
                                    if (!result && result.error().code == Errc::restarting) {
                                      return scope_.tree.restart(supervisor, id, done);
                                    }
                                    done(std::move(result));
                                  });
      });
}

void RequestHandler::stop(const json& arguments, Reply reply) {
  on_each(
      arguments, std::move(reply),
      [this](const std::string& supervisor, const std::string& id, SupervisionTree::Reply done) {
        scope_.tree.terminate_child(supervisor, id, std::move(done));
      });
}

void RequestHandler::restart(const json& arguments, Reply reply) {
  on_each(
      arguments, std::move(reply),
      [this](const std::string& supervisor, const std::string& id, SupervisionTree::Reply done) {
        scope_.tree.restart(supervisor, id, std::move(done));
      });
}

void RequestHandler::kill(const json& arguments, Reply reply) {
  on_each(
      arguments, std::move(reply),
      [this](const std::string& supervisor, const std::string& id, SupervisionTree::Reply done) {
        scope_.tree.kill(supervisor, id, std::move(done));
      });
}

void RequestHandler::scale(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const std::string path = given.text("path");
  ServiceGroup* scaled = group(path);
  if (!scaled) {
    if (!scope_.tree.find(path)) return reply(unknown(path));
    return reply(
        Error{Errc::invalid_argument, "\"" + path +
                                          "\" is a single service; only one that was written with "
                                          "\"instances\" can be scaled"});
  }
  if (!given.has("instances")) {
    return reply(Error{Errc::invalid_argument, "how many? Give instances"});
  }
  const Result<std::uint64_t> wanted = given.number("instances", 0, most_instances);
  if (!wanted) return reply(wanted.error());

  const unsigned before = scaled->instances;
  scaled->instances = static_cast<unsigned>(*wanted);
  const ServiceGroup group = *scaled;
  const auto gathered = std::make_shared<Gathered>(
      [this, reply, path, alive = std::weak_ptr<bool>(alive_)](Result<json> done) {
        if (!done || !alive.lock()) return reply(std::move(done));
        on_each(json{{"path", path}}, reply,
                [this](const std::string& supervisor, const std::string& id,
                       const SupervisionTree::Reply& tell) {
                  tell(scope_.tree.which_child(supervisor, id));
                });
      },
      json::object());
  const auto note = [gathered](const Result<ChildSnapshot>& result, Errc fine) {
    if (result || result.error().code == fine) {
      gathered->succeed();
    } else {
      gathered->fail(result.error());
    }
  };
  for (unsigned instance = before + 1; instance <= group.instances; ++instance) {
    gathered->expect();
    scope_.tree.start_child(
        group.supervisor, instance_of(group, instance),
        [note](Result<ChildSnapshot> result) { note(result, Errc::already_started); });
  }
  for (unsigned instance = before; instance > group.instances; --instance) {
    const std::string id = instance_of(group, instance).id;
    gathered->expect();
    scope_.tree.terminate_child(
        group.supervisor, id, [this, note, group, id](Result<ChildSnapshot> stopped) {
          if (!stopped) return note(stopped, Errc::not_found);
          scope_.tree.delete_child(group.supervisor, id, [note](Result<ChildSnapshot> deleted) {
            note(deleted, Errc::not_found);
          });
        });
  }
}

void RequestHandler::start_child(const json& arguments, Reply reply) {
  const std::string supervisor = RequestArguments(arguments).text("path");
  if (arguments.contains("arguments") && arguments["arguments"].is_array()) {
    return scope_.tree.start_child(supervisor, arguments["arguments"].get<std::vector<json>>(),
                                   with_handle(std::move(reply)));
  }
  if (!arguments.contains("child")) {
    return reply(Error{Errc::invalid_argument,
                       "give a child (as in a configuration), or arguments (a list) where the "
                       "supervisor is simple_one_for_one"});
  }
  // Reading a spec looks at files, which the loop must not wait for.
  auto parsed = std::make_shared<ChildOutcome>();
  scope_.loop.run_blocking(
      [parsed, child = arguments["child"], supervisor, config = scope_.config] {
        *parsed = child_from_json(child, supervisor, *config);
      },
      [this, parsed, supervisor, reply = std::move(reply), alive = std::weak_ptr<bool>(alive_)] {
        if (alive.lock()) start_parsed(supervisor, *parsed, reply);
      });
}

void RequestHandler::start_parsed(const std::string& supervisor, const ChildOutcome& parsed,
                                  Reply reply) {
  if (!parsed.ok()) {
    return reply(Error{Errc::invalid_child_spec, describe(parsed.faults, "child")});
  }
  for (const ServiceGroup& added : parsed.groups) {
    const std::string path =
        added.supervisor.empty() ? added.id : added.supervisor + '/' + added.id;
    if (!group(path)) groups_.push_back(added);
  }
  // Groups further down, in a supervisor that joins, do not make many of the one that was asked
  // for.
  const bool many =
      std::any_of(parsed.groups.begin(), parsed.groups.end(),
                  [&](const ServiceGroup& added) { return added.supervisor == supervisor; });
  if (!many) {
    return scope_.tree.start_child(supervisor, parsed.children.front(),
                                   with_handle(std::move(reply)));
  }
  const auto gathered =
      std::make_shared<Gathered>(std::move(reply), json{{"children", json::array()}});
  for (std::size_t number = 0; number < parsed.children.size(); ++number) {
    gathered->expect();
    const ChildSpec& child = parsed.children[number];
    scope_.tree.start_child(supervisor, child, [gathered, number](Result<ChildSnapshot> result) {
      if (result) {
        gathered->succeed()["children"][number] = handle_json(*result);
      } else {
        gathered->fail(result.error());
      }
    });
  }
}

void RequestHandler::terminate_child(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const Result<ChildRef> child = child_of(given);
  if (!child) return reply(child.error());
  scope_.tree.terminate_child(given.text("path"), *child, with_handle(std::move(reply)));
}

void RequestHandler::restart_child(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const Result<ChildRef> child = child_of(given);
  if (!child) return reply(child.error());
  scope_.tree.restart_child(given.text("path"), *child, with_handle(std::move(reply)));
}

void RequestHandler::delete_child(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const Result<ChildRef> child = child_of(given);
  if (!child) return reply(child.error());
  scope_.tree.delete_child(given.text("path"), *child, with_handle(std::move(reply)));
}

void RequestHandler::shutdown(const json& arguments, Reply reply) {
  const bool now = RequestArguments(arguments).flag("now");
  reply(json::object());
  scope_.shut_down("unirun shutdown");
  if (now) scope_.shut_down("unirun shutdown --now");
}

}  // namespace unirun
