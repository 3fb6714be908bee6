#include "host/requests/request_handler.h"

#include <utility>

#include "framework/nearest.h"

namespace unirun {

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
    : scope_(std::move(scope)), names_(scope_.tree, scope_.config->groups) {
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

}  // namespace unirun
