// E17: the lifespan of applications of ASGI.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include "tests/python_executor/asgi_scene.h"

namespace unirun::python {
namespace {

const std::string scene = std::string(asgi_helpers) + R"(
async def lived(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    seen.append(scope)
    scope["state"]["pool"] = ["shared"]
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    seen.append("cleaned up")
    await send({"type": "lifespan.shutdown.complete"})
async def app(scope, receive, send):
    if scope["type"] == "lifespan": return await lived(scope, receive, send)
    state = scope.get("state")
    if state is not None:
        state["own"] = state.get("own", 0) + 1
        state["pool"].append(scope["path"])
    await answer(send, state)
async def knows_none(scope, receive, send):
    assert scope["type"] == "http"
    await answer(send, "state" in scope)
async def returns(scope, receive, send):
    if scope["type"] == "http": await answer(send, "state" in scope)
async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
    raise ValueError("as Starlette does")
async def fails_silently(scope, receive, send): await send({"type": "lifespan.startup.failed"})
async def fails_at_end(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "it is stuck"})
async def raises_at_end(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise ValueError("as asked")
async def dies(scope, receive, send):
    if scope["type"] == "http": return await answer(send, "state" in scope)
    await send({"type": "lifespan.startup.complete"})
    seen.append("dies")
    raise ValueError("as asked")
async def forgets(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
)";

AsgiRequest request_to(std::string path) {
  AsgiRequest request;
  request.scope.path = std::move(path);
  return request;
}

Result<void> waited_for(future<void> what) {
  REQUIRE(what.wait_for(patience));
  return what.get();
}

Errc start(const AsgiApp& app) { return code_of(waited_for(app.lifespan_startup())); }
Errc shut_down(const AsgiApp& app) { return code_of(waited_for(app.lifespan_shutdown())); }

}  // namespace

TEST_CASE("A17: an application starts, shares its state with each request, and cleans up") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("app");
  CHECK(response_of(app).body.data == "None");
  CHECK(start(app) == Errc::ok);
  CHECK(Scene::value_of("seen[0]['asgi']") ==
        Value(Object{{"version", "3.0"}, {"spec_version", "2.0"}}));
  CHECK(start(app) == Errc::unsupported);
  CHECK(response_of(app, request_to("/1")).body.data == "{'pool': ['shared', '/1'], 'own': 1}");
  CHECK(response_of(app, request_to("/2")).body.data ==
        "{'pool': ['shared', '/1', '/2'], 'own': 1}");
  CHECK(shut_down(app) == Errc::ok);
  CHECK(Scene::value_of("seen[-1]") == Value("cleaned up"));
  CHECK(shut_down(app) == Errc::ok);
  CHECK(start(app) == Errc::ok);  // Anew.
  CHECK(shut_down(app) == Errc::ok);
}

TEST_CASE("A17: an application that knows of no lifespan has nothing to start") {
  const Scene here(scene.c_str());
  for (const char* const name : {"knows_none", "returns"}) {
    CAPTURE(name);
    const AsgiApp app = app_named(name);
    CHECK(start(app) == Errc::ok);
    CHECK(response_of(app).body.data == "False");
    CHECK(shut_down(app) == Errc::ok);
  }
}

TEST_CASE("A17: an application that fails to start says why") {
  const Scene here(scene.c_str());
  const auto failed = waited_for(app_named("fails").lifespan_startup());
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().code == Errc::python_exception);
  CHECK(failed.error().message == "'lifespan.startup.failed' of the ASGI application: no database");
  const auto silent = waited_for(app_named("fails_silently").lifespan_startup());
  REQUIRE_FALSE(silent.ok());
  CHECK(silent.error().message ==
        "'lifespan.startup.failed' of the ASGI application: it does not say why");
}

TEST_CASE("A17: what goes wrong at the end, or before it, is said at the end") {
  const Scene here(scene.c_str());
  const AsgiApp fails = app_named("fails_at_end");
  CHECK(start(fails) == Errc::ok);
  const auto failed = waited_for(fails.lifespan_shutdown());
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().message ==
        "'lifespan.shutdown.failed' of the ASGI application: it is stuck");
  const AsgiApp raises = app_named("raises_at_end");
  CHECK(start(raises) == Errc::ok);
  const auto raised = waited_for(raises.lifespan_shutdown());
  REQUIRE_FALSE(raised.ok());
  CHECK(raised.error().type == "builtins.ValueError");
  const AsgiApp dies = app_named("dies");
  CHECK(start(dies) == Errc::ok);
  wait_until("'dies' in seen");
  CHECK(response_of(dies).body.data == "False");
  CHECK(shut_down(dies) == Errc::python_exception);
  const AsgiApp forgets = app_named("forgets");
  CHECK(start(forgets) == Errc::ok);
  CHECK(shut_down(forgets) == Errc::ok);
}

TEST_CASE("A17: the end of the executor ends a lifespan that nobody has ended") {
  std::optional<AsgiApp> app;
  {
    const Scene here(scene.c_str());
    app = app_named("app");
    CHECK(start(*app) == Errc::ok);
  }
  CHECK(was_ended(shut_down(*app)));
  CHECK(start(*app) == Errc::not_initialized);
  CHECK(shut_down(*app) == Errc::not_initialized);
  const Scene here(scene.c_str());
  CHECK(start(*app) == Errc::ok);
  CHECK(response_of(*app).body.data == "{'pool': ['shared', '/'], 'own': 1}");
  CHECK(shut_down(*app) == Errc::ok);
}

}  // namespace unirun::python
