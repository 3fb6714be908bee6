// An HTTP server with one thread of its own, an event loop, whose handlers are Python functions:
//
//   GET /ping            is answered here, in C++
//   GET /primes?30000    by handlers.primes("30000"), on a worker
//   GET /later?0.5       by handlers.later("0.5"), a coroutine, on an asyncio loop
//
// The loop waits for nobody: a request is a coroutine of C++ that goes on when its handler has
// answered. measure.py shows what that is worth.
//
// usage: server FOLDER_OF_HANDLERS [PORT]   (prints the port; ends with SIGTERM or SIGINT)
#include <Python.h>
// Python.h first.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "http.h"
#include "unirun/executors/python/python_executor.h"
#include "unirun/framework/clock.h"

using namespace unirun;
using python::PythonExecutor;
using namespace std::chrono_literals;

namespace {

using http::response;

// What a handler that failed is called to the client; the traceback is for the log.
http::Response response_to(const python::Error& error) {
  std::fprintf(stderr, "%s: %s\n%s", error.type.c_str(), error.message.c_str(),
               error.traceback.c_str());
  switch (error.code) {
    case python::Errc::import_failed:  // What the path says is no name in Python.
    case python::Errc::unknown_function: return response("404 Not Found", "no such handler\n");
    case python::Errc::queue_full: return response("503 Service Unavailable", "too busy\n");
    case python::Errc::timeout: return response("504 Gateway Timeout", "it took too long\n");
    default: return response("500 Internal Server Error", error.type + "\n");
  }
}

// "/name?query": handlers.name("query"). No coroutine, for gcc 12 takes no braces beside co_await.
python::future<python::Value> call_handler(const http::Request& request) {
  return PythonExecutor::async_call("handlers", request.path().substr(1), {request.query()}, {},
                                    {.timeout = 10s});
}

Task<http::Response> answer(http::Request request) {
  if (request.method != "GET") co_return response("405 Method Not Allowed", "only GET\n");
  if (request.target == "/ping") co_return response("200 OK", "pong\n");
  const python::Result<python::Value> said = co_await call_handler(request);
  if (!said.ok()) co_return response_to(said.error());
  const auto* const text = said->get_if<std::string>();
  co_return text != nullptr
      ? response("200 OK", *text)
      : response("500 Internal Server Error", "a handler answers with a string\n");
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: server FOLDER_OF_HANDLERS [PORT]\n");
    return 2;
  }
  if (const auto started = PythonExecutor::start(
          {.num_workers = 2, .sys_path = {arguments[1]}, .preload = {"handlers"}});
      !started.ok()) {
    std::fprintf(stderr, "server: %s\n%s", started.error().message.c_str(),
                 started.error().traceback.c_str());
    return 1;
  }
  const SystemClock clock;
  EventLoop loop(clock);
  const auto port = static_cast<in_port_t>(count > 2 ? std::atoi(arguments[2]) : 0);
  if (!http::serve(loop, port, answer)) {
    std::perror("server: no socket to listen on");
    return 1;
  }
  return PythonExecutor::shutdown() == 0 && PythonExecutor::finalize().ok() ? 0 : 1;
}
