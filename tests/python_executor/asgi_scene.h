// What the tests of ASGI share: an executor, and applications of the test's own.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <string>
#include <thread>
#include <utility>

#include "executors/python/asgi/asgi_app.h"
#include "framework/clock.h"
#include "tests/python_executor/async_scene.h"

namespace unirun::python {

using namespace std::chrono_literals;
using EventType = AsgiEvent::Type;

// For what ends by itself.
inline constexpr AsgiOptions patient{.grace = patience};

// Applications in the module "scene" that answer in a line.
inline constexpr const char* asgi_helpers = R"(
import asyncio, time

seen = []

async def answer(send, text, status=200, headers=()):
    body = text if isinstance(text, bytes) else str(text).encode()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
async def body_of(receive):
    body = b""
    while True:
        event = await receive()
        assert event["type"] == "http.request", event
        body += event["body"]
        if not event["more_body"]: return body
)";

// As Scene::value_of(), also while the loop is held up.
inline Value seen_from_worker(const std::string& expression) {
  auto value = PythonExecutor::call("scene", "value_of", {expression});
  REQUIRE_MESSAGE(value.ok(), text_of(value));
  return *std::move(value);
}

// Waits until an expression among the names of the scene is true.
inline void wait_until(const std::string& expression) {
  const SystemClock clock;
  const Instant end = clock.now() + patience;
  while (seen_from_worker("bool(" + expression + ")") != Value(true)) {
    REQUIRE_MESSAGE(clock.now() < end, expression);
    std::this_thread::sleep_for(1ms);
  }
}

inline AsgiApp app_named(const std::string& name) {
  auto app = AsgiApp::load("scene:" + name);
  REQUIRE_MESSAGE(app.ok(), text_of(app));
  return *std::move(app);
}

inline AsgiResponse response_of(const AsgiApp& app, AsgiRequest request = {}) {
  auto response = app.run(std::move(request), patience);
  REQUIRE_MESSAGE(response.ok(), text_of(response));
  return *std::move(response);
}

inline std::string text_of(const AsgiResponse& response) {
  return response.error ? response.error->message : response.body.data;
}

// The next event, which has to be one.
inline AsgiEvent received(AsgiConnection& connection) {
  auto event = connection.receive_blocking(patience);
  REQUIRE(event);
  REQUIRE_MESSAGE(event->ok(), text_of(*event));
  return **std::move(event);
}

// How it ends: the code of its Error, after which nothing comes.
inline Errc end_of(AsgiConnection& connection) {
  auto event = connection.receive_blocking(patience);
  if (!event) return Errc::ok;
  REQUIRE_FALSE(event->ok());
  CHECK_FALSE(connection.receive_blocking(patience));
  return event->error().code;
}

inline Errc say(AsgiConnection& connection, AsgiEvent event) {
  return code_of(connection.send_blocking(std::move(event), patience));
}

// As shutdown() ends what runs: asyncio cancels it, or it was in a step, and that is interrupted.
inline bool was_ended(Errc code) { return code == Errc::cancelled || code == Errc::interrupted; }

inline Errc say_all(AsgiConnection& connection) { return say(connection, AsgiEvent{}); }

}  // namespace unirun::python
