// The requests that change nothing.

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "host/config/spec_json.h"
#include "host/requests/gathered_reply.h"
#include "host/requests/request_arguments.h"
#include "host/requests/request_handler.h"

namespace unirun {

using nlohmann::json;

namespace {

constexpr std::uint64_t most_rows = 10'000;
// So many deaths of one cause in a row are a storm: the cause, not the service, needs a look.
constexpr std::size_t storm_size = 3;

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

json RequestHandler::to_json(const ChildSnapshot& child) const {
  return service_json(child, {status_texts_, scope_.metrics}, scope_.loop.clock().now());
}

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
  json root =
      node_json(scope_.tree.snapshot(), {status_texts_, scope_.metrics}, scope_.loop.clock().now());
  return {{"host", scope_.describe_host()}, {"supervisors", std::move(root["children"])}};
}

void RequestHandler::tree(const json&, Reply reply) { reply(tree_json()); }

void RequestHandler::service(const json& arguments, Reply reply) {
  const std::string path = RequestArguments(arguments).text("path");
  const Result<std::vector<ChildSnapshot>> children = names_.resolve(path);
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
  const Result<ChildRef> child = given.child();
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
  const auto children = names_.resolve(given.text("path"));
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
  const auto children = names_.resolve(path);
  std::vector<std::string> paths;
  if (children) {
    for (const ChildSnapshot& child : *children) paths.push_back(child.path);
  } else {
    paths.push_back(path);  // It may be gone, and remembered all the same.
  }
  const auto gathered = std::make_shared<GatheredReply>(
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

}  // namespace unirun
