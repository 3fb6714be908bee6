// An HTTP server with one thread of its own, an event loop, in front of an ASGI application:
//
//   asgi_server examples/embedding application:app
//
// The application starts before the first request and cleans up after the last; in between its
// requests run beside one another, and the loop waits for none of them.
//
// usage: asgi_server FOLDER MODULE:ATTRIBUTE [PORT]   (prints the port; ends with SIGTERM or
// SIGINT)
#include <Python.h>
// Python.h first.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "http.h"
#include "unirun/executors/python/asgi/asgi_app.h"
#include "unirun/executors/python/python_executor.h"
#include "unirun/framework/clock.h"

using namespace unirun;
using python::AsgiApp;
using python::PythonExecutor;
using namespace std::chrono_literals;

namespace {

// "a%20b" is "a b".
std::string unquoted(std::string_view text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool is_quoted = text[at] == '%' && at + 2 < text.size();
    plain += is_quoted ? static_cast<char>(
                             std::strtol(std::string(text.substr(at + 1, 2)).c_str(), nullptr, 16))
                       : text[at];
    if (is_quoted) at += 2;
  }
  return plain;
}

python::AsgiRequest asgi_request(http::Request request) {
  python::AsgiRequest asked;
  asked.scope.method = request.method;
  asked.scope.path = unquoted(request.path());
  asked.scope.raw_path = python::Bytes{std::string(request.path())};
  asked.scope.query_string = {std::string(request.query())};
  for (auto& [name, value] : request.headers)
    asked.scope.headers.push_back({{std::move(name)}, {std::move(value)}});
  asked.body = {std::move(request.body)};
  return asked;
}

void log(const python::Error& error) {
  std::fprintf(stderr, "%s: %s\n%s", error.type.c_str(), error.message.c_str(),
               error.traceback.c_str());
}

http::Response http_response(const python::AsgiResponse& answer) {
  if (answer.error) log(*answer.error);
  std::string text = "HTTP/1.1 " + std::to_string(answer.status) + " \r\n";
  bool has_length = false;
  for (const auto& [name, value] : answer.headers) {
    text.append(name.data).append(": ").append(value.data).append("\r\n");
    if (name.data == "content-length") has_length = true;
  }
  if (!has_length) text += "content-length: " + std::to_string(answer.body.data.size()) + "\r\n";
  return text.append("\r\n").append(answer.body.data);
}

Task<http::Response> answer(AsgiApp app, http::Request request) {
  python::future<python::AsgiResponse> asked = app.run_async(asgi_request(std::move(request)), 30s);
  const python::Result<python::AsgiResponse> said = co_await std::move(asked);
  if (said.ok()) co_return http_response(*said);
  log(said.error());
  co_return said.error().code == python::Errc::queue_full
      ? http::response("503 Service Unavailable", "too busy\n")
      : http::response("500 Internal Server Error", "it went wrong\n");
}

// Says what is wrong, if something is.
template <class T>
bool is_good(const python::Result<T>& result) {
  if (!result.ok()) log(result.error());
  return result.ok();
}

bool serve(const std::string& name, in_port_t port) {
  const auto app = AsgiApp::load(name);
  if (!is_good(app) || !is_good(app->lifespan_startup().get())) return false;
  const SystemClock clock;
  EventLoop loop(clock);
  const http::Handler handler = [&app](http::Request request) {
    return answer(*app, std::move(request));
  };
  const bool has_served = http::serve(loop, port, handler);
  if (!has_served) std::perror("asgi_server: no socket to listen on");
  return is_good(app->lifespan_shutdown().get()) && has_served;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::fprintf(stderr, "usage: asgi_server FOLDER MODULE:ATTRIBUTE [PORT]\n");
    return 2;
  }
  if (!is_good(PythonExecutor::start({.num_workers = 1, .sys_path = {arguments[1]}}))) return 1;
  const bool served =
      serve(arguments[2], static_cast<in_port_t>(count > 3 ? std::atoi(arguments[3]) : 0));
  return PythonExecutor::shutdown() == 0 && PythonExecutor::finalize().ok() && served ? 0 : 1;
}
