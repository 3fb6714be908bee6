// The routes of the control socket: which method and path is which request. docs/openapi.json
// describes the same list to others, and a test holds the two together.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/result.h"
#include "host/control/http_message.h"
#include "host/host_handle.h"

namespace unirun {

struct Route {
  std::string_view method;
  // "{path}" takes one or more segments (none under "supervisors": the root), "{id}" takes one.
  std::string_view pattern;
  std::string_view request;  // In host/requests/requests.h.
  bool can_stream = false;   // With follow=1 or Accept: text/event-stream.
};
[[nodiscard]] const std::vector<Route>& routes();

struct RoutedRequest {
  const Route* route = nullptr;
  Request request;  // The path's, the query's and the body's members are its arguments.
  bool stream = false;
};

// Errors: not_found for no such path, unsupported for a method that it does not have,
// invalid_argument for a body that is no JSON object.
[[nodiscard]] Result<RoutedRequest> route(const HttpMessage& message);

// The status that goes with an error: 404 for not_found.
[[nodiscard]] int http_status_of(Errc code);

}  // namespace unirun
