// E17: an application of Starlette's, which knows nothing of us.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/python_executor/asgi_scene.h"

namespace unirun::python {
namespace {

constexpr const char* scene = R"(
import asyncio, contextlib
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

seen = []

async def about(request):
    return JSONResponse({"method": request.method, "path": request.url.path, "query": dict(request.query_params),
        "name": request.path_params["name"], "agent": request.headers["user-agent"],
        "host": request.client.host, "body": await request.json(), "state": request.state.pool})
async def stream(request):
    async def numbers():
        for n in range(1000): yield f"{n},"
    return StreamingResponse(numbers(), media_type="text/plain")
async def endless(request):
    async def numbers():
        while True: yield "x" * 1000
    return StreamingResponse(numbers())
async def background(request):
    return PlainTextResponse("answered", background=BackgroundTask(seen.append, "in the background"))
async def upload(request):
    try:
        size = 0
        async for chunk in request.stream(): size += len(chunk)
        return PlainTextResponse(str(size))
    except ClientDisconnect:
        seen.append("client left")
        raise
async def fail(request): raise ValueError("as asked")
def plain(request): return PlainTextResponse("on a thread")
async def teapot(request): raise HTTPException(418)
async def talk(socket):
    if socket.query_params.get("refuse"):
        await socket.send_denial_response(PlainTextResponse("no", status_code=401))
        return
    await socket.accept(subprotocol=socket.scope["subprotocols"][0])
    try:
        while True: await socket.send_text((await socket.receive_text()).upper())
    except WebSocketDisconnect as gone:
        seen.append(gone.code)
class Marked(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-marked"] = "yes"
        return response
@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"pool": "shared"}
    seen.append("cleaned up")
@contextlib.asynccontextmanager
async def broken(app):
    raise ValueError("no database")
    yield
app = Starlette(lifespan=lifespan, middleware=[Middleware(Marked)], routes=[
    Route("/about/{name}", about, methods=["POST"]), Route("/stream", stream), Route("/endless", endless),
    Route("/background", background), Route("/upload", upload, methods=["PUT"]), Route("/fail", fail),
    Route("/plain", plain), Route("/teapot", teapot), WebSocketRoute("/talk", talk)])
async def watched(scope, receive, send):
    try: await app(scope, receive, send)
    finally: seen.append("over")
broken_app = Starlette(lifespan=broken)
)";

PythonExecutor::Config with_starlette() {
  return {.num_workers = 1, .sys_path = {UNIRUN_STARLETTE_FOLDER}};
}

AsgiRequest get(std::string path) {
  AsgiRequest request;
  request.scope.path = std::move(path);
  return request;
}

bool has_header(const AsgiResponse& response, const Bytes& name, const Bytes& value) {
  return std::ranges::find(response.headers, std::pair(name, value)) != response.headers.end();
}

}  // namespace

TEST_CASE("A17: Starlette answers") {
  const Scene here(scene, with_starlette());
  const AsgiApp app = app_named("app");
  REQUIRE(app.lifespan_startup().get().ok());
  AsgiRequest request = get("/about/tea");
  request.scope.method = "POST";
  request.scope.query_string = {"size=2&cup=%C3%A4"};
  request.scope.headers = {{{"Host"}, {"here"}}, {{"User-Agent"}, {"test"}}};
  request.scope.client = AsgiAddress{"127.0.0.1", 1};
  request.body = {R"({"a": [1]})"};
  const AsgiResponse about = response_of(app, request);
  CHECK(about.status == 200);
  CHECK(about.body.data ==
        "{\"method\":\"POST\",\"path\":\"/about/"
        "tea\",\"query\":{\"size\":\"2\",\"cup\":\"\xC3\xA4\"},"
        "\"name\":\"tea\",\"agent\":\"test\",\"host\":\"127.0.0.1\",\"body\":{\"a\":[1]},"
        "\"state\":\"shared\"}");
  CHECK(has_header(about, {"content-type"}, {"application/json"}));
  CHECK(has_header(about, {"x-marked"}, {"yes"}));
  CHECK(response_of(app, get("/stream")).body.data.ends_with("998,999,"));
  CHECK(response_of(app, get("/plain")).body.data == "on a thread");
  CHECK(response_of(app, get("/teapot")).status == 418);
  CHECK(response_of(app, get("/nothing")).status == 404);
  CHECK(response_of(app, get("/about/tea")).status == 405);
  CHECK(response_of(app, get("/background")).body.data == "answered");
  wait_until("'in the background' in seen");
  CHECK(app.lifespan_shutdown().get().ok());
  CHECK(Scene::value_of("seen[-1]") == Value("cleaned up"));
}

TEST_CASE("A17: Starlette fails as it does elsewhere") {
  const Scene here(scene, with_starlette());
  // It sends an answer of its own, and then raises, which asyncio is told.
  const AsgiResponse failed = response_of(app_named("app"), get("/fail"));
  CHECK(failed.status == 500);
  CHECK(failed.body.data == "Internal Server Error");
  const auto broken = app_named("broken_app").lifespan_startup().get();
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().message.find("no database") != std::string::npos);
}

TEST_CASE("A17: Starlette streams, and hears of a client that leaves") {
  const Scene here(scene, with_starlette());
  const AsgiApp app = app_named("watched");
  {
    AsgiConnection request = app.open({.path = "/endless"}, patient);
    CHECK(say_all(request) == Errc::ok);
    CHECK(received(request).status == 200);
    for (int n = 0; n < 100; ++n) CHECK(received(request).body.data.size() == 1000);
  }
  wait_until("seen");
  const Scope put{.method = "PUT", .path = "/upload"};
  AsgiConnection upload = app.open(put, patient);
  for (int n = 0; n < 100; ++n)
    CHECK(say(upload, {.body = {std::string(1000, 'x')}, .more_body = n < 99}) == Errc::ok);
  CHECK(received(upload).status == 200);
  CHECK(received(upload).body.data == "100000");
  {
    AsgiConnection broken_off = app.open(put, patient);
    CHECK(say(broken_off, {.body = {"x"}, .more_body = true}) == Errc::ok);
  }
  wait_until("'client left' in seen");
}

TEST_CASE("A17: Starlette talks over a websocket") {
  const Scene here(scene, with_starlette());
  const AsgiApp app = app_named("app");
  Scope scope{.type = Scope::Type::websocket, .path = "/talk", .subprotocols = {"chat"}};
  AsgiConnection socket = app.open(scope, patient);
  CHECK(received(socket).subprotocol == "chat");
  CHECK(say(socket, {.type = EventType::websocket_receive, .text = "tea"}) == Errc::ok);
  CHECK(received(socket).text == "TEA");
  socket.disconnect(1001);
  wait_until("1001 in seen");
  scope.query_string = {"refuse=1"};
  AsgiConnection refused = app.open(scope, patient);
  CHECK(received(refused).status == 401);
  CHECK(received(refused).body.data == "no");
  scope.path = "/nowhere";
  AsgiConnection unknown = app.open(scope, patient);
  CHECK(received(unknown).type != EventType::websocket_accept);
}

}  // namespace unirun::python
