#include "host/cli/client_commands.h"

#include <fmt/format.h>

#include <utility>

#include "framework/event.h"
#include "host/cli/render_answers.h"
#include "host/cli/render_event.h"

namespace unirun {
namespace {

using nlohmann::json;

// What came over the socket is UTF-8 already, unless someone else sits there.
std::string as_line(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
}

std::string render_answer_services(const json& answer, const TextStyle& style) {
  return render_services(answer.value("services", json::array()), style);
}

// An event of a newer host, of a kind that is not known here, is still worth a line.
std::string render_any_event(const json& event, EventRenderer& renderer) {
  if (const auto known = event_from_json(event)) return renderer.render(*known);
  return as_line(event);
}

}  // namespace

ExitCode ClientCommands::show(const Result<json>& answer, Render render) const {
  if (!answer) return console_.fail(answer.error());
  console_.out << (as_json_ ? as_line(*answer) : render(*answer, console_.out_style)) << std::flush;
  return ExitCode::done;
}

ExitCode ClientCommands::status() { return show(client_.get("/v1/status"), render_status); }

ExitCode ClientCommands::tree() { return show(client_.get("/v1/tree"), render_tree); }

ExitCode ClientCommands::events(const EventQuery& query) {
  std::string target = fmt::format("/v1/events?limit={}", query.count);
  if (!query.path.empty()) target += "&path=" + encode_path(query.path);
  if (!query.kinds.empty()) target += fmt::format("&kinds={}", fmt::join(query.kinds, ","));
  EventRenderer renderer(console_.out_style);
  const auto print = [&](const json& event) {
    console_.out << (as_json_ ? as_line(event) : render_any_event(event, renderer)) << std::flush;
    return console_.out.good();  // False once the reader of a pipe has left.
  };
  if (query.follow) {
    const Status ended = client_.stream(target + "&follow=1", print);
    return ended ? ExitCode::done : console_.fail(ended.error());
  }
  const auto answer = client_.get(target);
  if (!answer) return console_.fail(answer.error());
  for (const json& event : answer->value("events", json::array())) print(event);
  return ExitCode::done;
}

ExitCode ClientCommands::logs(const std::string& service, bool follow, std::uint64_t count) {
  const std::string target = fmt::format("/v1/logs/{}?tail={}", encode_path(service), count);
  const auto print = [&](const json& line) {
    const bool with_path = line.value("path", service) != service;
    console_.out << (as_json_ ? as_line(line)
                              : render_log_line(line, with_path, console_.out_style))
                 << std::flush;
    return console_.out.good();
  };
  if (follow) {
    const Status ended = client_.stream(target + "&follow=1", print);
    return ended ? ExitCode::done : console_.fail(ended.error());
  }
  const auto answer = client_.get(target);
  if (!answer) return console_.fail(answer.error());
  for (const json& line : answer->value("lines", json::array())) print(line);
  return ExitCode::done;
}

ExitCode ClientCommands::why(const std::string& service, std::uint64_t count) {
  return show(client_.get(fmt::format("/v1/why/{}?limit={}", encode_path(service), count)),
              render_why);
}

ExitCode ClientCommands::command(const std::string& verb, const std::string& service) {
  return show(client_.post(fmt::format("/v1/services/{}/{}", encode_path(service), verb)),
              render_answer_services);
}

ExitCode ClientCommands::scale(const std::string& service, unsigned instances) {
  return show(client_.post(fmt::format("/v1/services/{}/scale", encode_path(service)),
                           {{"instances", instances}}),
              render_answer_services);
}

ExitCode ClientCommands::shutdown(bool now) {
  const auto answer = client_.post("/v1/shutdown", {{"now", now}});
  if (!answer) return console_.fail(answer.error());
  // A host closes every stream when it ends: whoever starts another one next finds its place free.
  // An error here means that it has ended already.
  const auto until_the_end = [](const nlohmann::json&) { return true; };
  static_cast<void>(client_.stream("/v1/events", until_the_end));
  if (as_json_) console_.out << as_line(*answer);
  return ExitCode::done;
}

}  // namespace unirun
