// What a request to an ASGI application costs: the application that says hello, through
// AsgiApp::run_async() with 64 requests under way, beside the same application awaited by 64
// coroutines in plain asyncio, on one thread, without any server.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <cstdio>
#include <cstdlib>
#include <deque>

#include "executors/python/asgi/asgi_app.h"
#include "executors/python/python_executor.h"
#include "executors/python/values/exception_text.h"

namespace unirun::bench {

class AsgiRounds {
 public:
  static constexpr int requests = 19200;
  static constexpr int concurrency = 64;

  AsgiRounds() : app_(load()) {}

  void ours() {
    std::deque<python::future<python::AsgiResponse>> under_way;
    for (int n = 0; n < requests + concurrency; ++n) {
      if (n >= concurrency) {
        if (under_way.front().get()->body.data != "Hello, world!") std::abort();
        under_way.pop_front();
      }
      if (n < requests) under_way.push_back(app_.run_async(request()));
    }
  }

  // On the calling thread.
  static void floor() {
    const auto ran = python::PythonExecutor::submit([] {
                       return PyObject_CallMethod(PyImport_AddModule("hello"), "floor", "ii",
                                                  requests, concurrency);
                     }).get();
    if (!ran.ok()) std::abort();
  }

 private:
  static constexpr const char* code = R"(
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Hello, world!"})

async def one_of_many(times):
    for _ in range(times):
        sent = []
        async def receive(): return {"type": "http.request", "body": b"", "more_body": False}
        async def send(event): sent.append(event)
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
            "method": "GET", "scheme": "http", "path": "/", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost"), (b"accept", b"*/*")], "client": None, "server": None}
        await asyncio.create_task(app(scope, receive, send))
        assert sent[1]["body"] == b"Hello, world!"

async def all_of_them(requests, concurrency):
    await asyncio.gather(*(one_of_many(requests // concurrency) for _ in range(concurrency)))

def floor(requests, concurrency): asyncio.run(all_of_them(requests, concurrency))
)";

  static python::AsgiApp load() {
    const auto defined =
        python::PythonExecutor::submit([]() -> python::Result<void> {
          PyObject* const names = PyModule_GetDict(PyImport_AddModule("hello"));
          PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
          if (python::Reference::steal(PyRun_String(code, Py_file_input, names, names))) return {};
          return python::error_of_exception();
        }).get();
    auto app = python::AsgiApp::load("hello:app");
    if (!defined.ok() || !app.ok()) {
      std::fprintf(stderr, "%s\n", (defined.ok() ? app.error() : defined.error()).message.c_str());
      std::abort();
    }
    return *std::move(app);
  }

  static python::AsgiRequest request() {
    python::AsgiRequest request;
    request.scope.headers = {{{"host"}, {"localhost"}}, {{"accept"}, {"*/*"}}};
    return request;
  }

  python::AsgiApp app_;
};

}  // namespace unirun::bench
