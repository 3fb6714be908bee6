#include "executors/python/asgi/asgi_call.h"

#include "executors/python/asgi/asgi_dicts.h"
#include "executors/python/runtime.h"

namespace unirun::python {
namespace {

// What the client is told, and the error that it is not told.
AsgiResponse response_to(Error error) {
  AsgiResponse response;
  for (AsgiEvent& event : AsgiProtocol(AsgiProtocol::Kind::http).last_words(true)) {
    if (event.type == AsgiEvent::Type::http_response_start) {
      response.status = event.status;
      response.headers = std::move(event.headers);
    } else {
      response.body = std::move(event.body);
    }
  }
  response.error = std::move(error);
  return response;
}

}  // namespace

template <>
Result<AsgiResponse> AsgiTask<AsgiResponse>::outcome_of_failure(Error error) {
  if (error.code == Errc::python_exception) return response_to(std::move(error));
  return error;
}

future<AsgiResponse> AsgiCall::start(std::shared_ptr<AsgiApplication> application,
                                     AsgiRequest request, std::optional<Duration> timeout) {
  LoopHome& home = application->home();
  const auto call = std::make_shared<AsgiCall>(std::move(application), std::move(request));
  auto* const task = new AsgiTask<AsgiResponse>(call, home);
  Shared<Outcome<AsgiResponse>> shared(task);
  call->task_.set(shared);
  task->add_owner();
  Runtime::get().submit(Shared<TaskState>(task), {.timeout = timeout});
  return future<AsgiResponse>(std::move(shared));
}

Reference AsgiCall::scope(const AsgiWords& words) {
  const Ref state = application()->state();
  return scope_dict(words, request_.scope, state.get());
}

std::optional<AsgiEvent> AsgiCall::next() {
  if (protocol().is_complete()) return AsgiEvent{.type = AsgiEvent::Type::http_disconnect};
  if (std::exchange(has_given_body_, true)) return std::nullopt;
  return AsgiEvent{.type = AsgiEvent::Type::http_request, .body = std::move(request_.body)};
}

bool AsgiCall::put(AsgiEvent event) {
  if (event.type == AsgiEvent::Type::http_response_start) {
    response_.status = event.status;
    response_.headers = std::move(event.headers);
    return false;
  }
  if (response_.body.data.empty()) {
    response_.body = std::move(event.body);
  } else {
    response_.body.data += event.body.data;
  }
  // What the application does from now on nobody waits for.
  if (protocol().is_complete()) task_.settle(Ending::executed, std::move(response_));
  return false;
}

void AsgiCall::finish(End end) noexcept {
  if (!end.error) return;
  const bool has_answer = !protocol().has_begun() && end.error->code == Errc::python_exception;
  const Ending ending = end.ending();
  if (has_answer) return task_.settle(ending, response_to(*std::move(end.error)));
  task_.settle(ending, *std::move(end.error));
}

void AsgiCall::fail(const Error& /*error*/) noexcept { static_cast<void>(task_.take()); }

}  // namespace unirun::python
