// E17: requests to applications of ASGI whose responses are collected.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/asgi_scene.h"

namespace unirun::python {
namespace {

const std::string scene = std::string(asgi_helpers) + R"(
async def describe(scope, receive, send):
    seen.append(scope)
    await answer(send, repr({key: value for key, value in scope.items()}))
async def echo(scope, receive, send):
    await answer(send, await body_of(receive), headers=[(b"x-one", b"\xff\x00"), [b"x-one", b"2"]])
async def method(scope, receive, send): await answer(send, scope["method"] + " " + scope["path"])
async def nothing(scope, receive, send):
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})
async def chunks(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": iter([])})
    for n in range(100):
        await send({"type": "http.response.body", "body": memoryview(b"%d," % n), "more_body": True})
    await send({"type": "http.response.body", "body": bytearray(b"end")})

async def raise_before(scope, receive, send): raise ValueError("as asked")
def raise_at_once(scope, receive, send): raise ValueError("as asked")
def no_coroutine(scope, receive, send): return 42
async def leave(scope, receive, send): raise SystemExit(3)
async def silent(scope, receive, send): pass
async def raise_after(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    raise ValueError("as asked")
async def half(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "more_body": True})
async def give_up(scope, receive, send): raise asyncio.CancelledError

complaints = []
async def complain(send, *events):
    for event in events:
        try: await send(event)
        except Exception as error: complaints.append(type(error).__name__ + ": " + str(error))
start = {"type": "http.response.start", "status": 200}
async def wrong(scope, receive, send):
    await complain(send, None, {}, {"type": 3}, {"type": "http.request"}, {"type": "lifespan.startup.complete"},
        {"type": "websocket.accept"}, {"type": "http.response.body"},
        {"type": "http.response.start"}, {"type": "http.response.start", "status": "200"},
        {"type": "http.response.start", "status": 7}, {"type": "http.response.start", "status": 1 << 80},
        start | {"headers": 3}, start | {"headers": [3]}, start | {"headers": [(b"a", b"b", b"c")]},
        start | {"headers": [("a", b"b")]}, start | {"headers": {b"a": b"b"}},
        start, start, {"type": "http.response.body", "body": "text"})
    await send({"type": "http.response.body", "body": "\n".join(complaints).encode()})
    complaints.clear()
    await complain(send, start, {"type": "http.response.body", "body": b"ignored"})
    seen.append(list(complaints))

async def in_background(scope, receive, send):
    await answer(send, "answered")
    seen.append((await receive())["type"])
    seen.append((await receive())["type"])
    await gate.wait()
    seen.append("over")
async def open_gate(scope, receive, send):
    gate.set()
    await answer(send, "open")
gate = asyncio.Event()
async def receive_again(scope, receive, send):
    await body_of(receive)
    waiting = [asyncio.create_task(receive()) for _ in range(2)]
    await asyncio.sleep(0)
    first, seen_now = asyncio.create_task(receive()), [task.done() for task in waiting]
    first.cancel()
    await answer(send, seen_now)
    seen.append([(await task)["type"] for task in waiting])

async def change(scope, receive, send):
    scope["asgi"]["version"] = scope["path"] = "mine"
    scope["headers"].clear()
    await answer(send, "changed")

together = most = 0
full = asyncio.Event()
async def slow(scope, receive, send):
    global together, most
    together += 1
    most = max(most, together)
    if together == 200: full.set()
    await full.wait()
    together -= 1
    await answer(send, scope["path"])
async def wait_for_ever(scope, receive, send):
    try:
        seen.append("began")
        await asyncio.Event().wait()
    finally: seen.append("finally")
async def hold(scope, receive, send): seen.append("held") or time.sleep(0.001)

class Class:
    async def __call__(self, scope, receive, send): await answer(send, "class")
    async def method(self, scope, receive, send): await answer(send, "bound")
object_ = Class()
number = 42
)";

AsgiRequest request_to(std::string path, std::string method = "GET", std::string body = "") {
  AsgiRequest request;
  request.scope.path = std::move(path);
  request.scope.method = std::move(method);
  request.body = {std::move(body)};
  return request;
}

}  // namespace

TEST_CASE("A17: an application is told of a request what ASGI 3 says") {
  const Scene here(scene.c_str());
  AsgiRequest request = request_to("/a \xC3\xA4", "POST");
  request.scope.raw_path = Bytes{"/a%20%C3%A4"};
  request.scope.query_string = {"q=%31"};
  request.scope.root_path = "/shop";
  request.scope.headers = {{{"Host"}, {"here"}}, {{"X-B"}, {std::string("\xFF\0", 2)}}};
  request.scope.client = AsgiAddress{"127.0.0.1", 50000};
  request.scope.extensions = Object{{"x", Object{{"y", 1}}}};
  const AsgiResponse response = response_of(app_named("describe"), request);
  CHECK(response.status == 200);
  CHECK(
      response.body.data ==
      "{'type': 'http', 'asgi': {'version': '3.0', 'spec_version': '2.4'}, 'http_version': '1.1', "
      "'method': 'POST', 'scheme': 'http', 'path': '/a \xC3\xA4', 'raw_path': b'/a%20%C3%A4', "
      "'query_string': b'q=%31', 'root_path': '/shop', 'headers': [(b'host', b'here'), (b'x-b', "
      "b'\\xff\\x00')], 'client': ('127.0.0.1', 50000), 'server': None, "
      "'extensions': {'x': {'y': 1}}}");
}

TEST_CASE("A17: keys of a scope are interned, and nothing of one request is in the next") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("describe");
  static_cast<void>(response_of(app, request_to("/one")));
  static_cast<void>(response_of(app_named("change"), request_to("/two")));
  const std::string after = response_of(app, request_to("/three")).body.data;
  CHECK(after.find("'path': '/three'") != std::string::npos);
  CHECK(after.find("'version': '3.0'") != std::string::npos);
  CHECK(Scene::value_of("all(a is b for a, b in zip(*seen[:2]))") == Value(true));
  CHECK(Scene::value_of("any(seen[0][k] is seen[1][k] for k in ('asgi', 'headers'))") ==
        Value(false));
}

TEST_CASE("A17: headers and bodies are bytes, as they are, both ways") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("echo");
  const std::string body("\0\xFF body \r\n", 10);
  const AsgiResponse response = response_of(app, request_to("/", "PUT", body));
  CHECK(response.body.data == body);
  CHECK(response.headers ==
        AsgiHeaders{{{"x-one"}, {std::string("\xFF\0", 2)}}, {{"x-one"}, {"2"}}});
  CHECK_FALSE(response.error);
  CHECK(response_of(app).body.data.empty());
  CHECK(response_of(app_named("nothing")).status == 204);
  const std::string large(3 << 20, 'x');
  CHECK(response_of(app, request_to("/", "PUT", large)).body.data == large);
}

TEST_CASE("A17: a body in chunks, of whatever holds bytes, is collected") {
  const Scene here(scene.c_str());
  const AsgiResponse response = response_of(app_named("chunks"));
  CHECK(response.body.data.starts_with("0,1,2,"));
  CHECK(response.body.data.ends_with("98,99,end"));
}

TEST_CASE("A17: two requests with the same path and different methods are two") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("method");
  auto one = app.run_async(request_to("/same", "GET"));
  auto other = app.run_async(request_to("/same", "DELETE"));
  CHECK(one.get()->body.data == "GET /same");
  CHECK(other.get()->body.data == "DELETE /same");
}

TEST_CASE("A17: what goes wrong before an answer is a 500, with the error") {
  const Scene here(scene.c_str());
  for (const char* const name :
       {"raise_before", "raise_at_once", "no_coroutine", "leave", "silent"}) {
    CAPTURE(name);
    const AsgiResponse response = response_of(app_named(name));
    CHECK(response.status == 500);
    CHECK(response.body.data == "Internal Server Error");
    REQUIRE(response.error);
    CHECK(response.error->code == Errc::python_exception);
  }
  const AsgiResponse raised = response_of(app_named("raise_before"));
  CHECK(raised.error->type == "builtins.ValueError");
  CHECK(raised.error->message == "as asked");
  CHECK(raised.error->traceback.find("raise_before") != std::string::npos);
  CHECK(response_of(app_named("leave")).error->type == "builtins.SystemExit");
  CHECK(response_of(app_named("silent")).error->message ==
        "the ASGI application returned before it had sent anything");
  CHECK(code_of(app_named("give_up").run({})) == Errc::cancelled);
}

TEST_CASE("A17: what goes wrong after the answer has begun is an error") {
  const Scene here(scene.c_str());
  const auto raised = app_named("raise_after").run({});
  REQUIRE_FALSE(raised.ok());
  CHECK(raised.error().code == Errc::python_exception);
  CHECK(raised.error().message == "as asked");
  const auto half = app_named("half").run({});
  REQUIRE_FALSE(half.ok());
  CHECK(half.error().message ==
        "the ASGI application returned before it had sent all of its answer");
}

TEST_CASE("A17: what is wrong with an event is raised where it is sent") {
  const Scene here(scene.c_str());
  CHECK(response_of(app_named("wrong")).body.data ==
        "TypeError: send(): an event is a dict, not 'NoneType'\n"
        "TypeError: send(): an event has its name, a str, under 'type'\n"
        "TypeError: send(): an event has its name, a str, under 'type'\n"
        "ValueError: send(): 'http.request' is no event that an application sends\n"
        "RuntimeError: 'lifespan.startup.complete' cannot be sent now: send "
        "'http.response.start' first\n"
        "RuntimeError: 'websocket.accept' cannot be sent now: send 'http.response.start' first\n"
        "RuntimeError: 'http.response.body' cannot be sent now: send 'http.response.start' first\n"
        "ValueError: 'http.response.start': 'status' has to be there, a number from 100 to 999\n"
        "TypeError: 'http.response.start': 'status' has to be an int, not 'str'\n"
        "ValueError: 'http.response.start': 'status' has to be there, a number from 100 to 999\n"
        "ValueError: 'http.response.start': a number is out of range\n"
        "TypeError: 'http.response.start': 'headers' has to be an iterable of pairs of bytes, not "
        "'int'\n"
        "TypeError: 'http.response.start': 'headers' has to be an iterable of pairs of bytes, not "
        "'int'\n"
        "TypeError: 'http.response.start': 'headers' has to be an iterable of pairs of bytes, not "
        "'tuple'\n"
        "TypeError: 'http.response.start': 'headers' has to be of bytes alone, not 'str'\n"
        "TypeError: 'http.response.start': 'headers' has to be an iterable of pairs of bytes, not "
        "'bytes'\n"
        "RuntimeError: 'http.response.start' cannot be sent now: the response has begun: send "
        "'http.response.body'\n"
        "TypeError: 'http.response.body': 'body' has to be bytes, not 'str'");
  CHECK(response_of(app_named("open_gate")).status == 200);
  CHECK(Scene::value_of("seen") == Value(Array{Array{}}));  // What follows is ignored.
}

TEST_CASE("A17: an answer is there before its background is over") {
  const Scene here(scene.c_str());
  CHECK(response_of(app_named("in_background")).body.data == "answered");
  CHECK(response_of(app_named("open_gate")).body.data == "open");
  wait_until("len(seen) == 3");
  CHECK(Scene::value_of("seen") == Value(Array{"http.disconnect", "http.disconnect", "over"}));
}

TEST_CASE("A17: many may wait for the end of the request") {
  const Scene here(scene.c_str());
  CHECK(response_of(app_named("receive_again")).body.data == "[False, False]");
  wait_until("seen");
  CHECK(Scene::value_of("seen") == Value(Array{Array{"http.disconnect", "http.disconnect"}}));
}

TEST_CASE("A17: 200 slow requests wait beside one another on one loop") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("slow");
  std::vector<future<AsgiResponse>> answers;
  for (int n = 0; n < 200; ++n) answers.push_back(app.run_async(request_to(std::to_string(n))));
  for (int n = 0; n < 200; ++n) {
    const auto answer = answers[static_cast<std::size_t>(n)].get();
    REQUIRE_MESSAGE(answer.ok(), text_of(answer));
    CHECK(answer->body.data == std::to_string(n));
  }
  CHECK(Scene::value_of("most") == Value(200));
}

TEST_CASE("A17: all requests of an application run on one loop of many") {
  const Scene here((scene + R"(
import threading
async def where(scope, receive, send):
    await asyncio.sleep(0.001)
    await answer(send, threading.get_native_id())
)")
                       .c_str(),
                   {.num_workers = 1, .num_loops = 3});
  const AsgiApp app = app_named("where");
  std::vector<future<AsgiResponse>> answers;
  for (int n = 0; n < 50; ++n) answers.push_back(app.run_async({}));
  const std::string first = answers.front().get()->body.data;
  for (std::size_t n = 1; n < answers.size(); ++n) CHECK(answers[n].get()->body.data == first);
}

TEST_CASE("A17: whoever does not wait any more has the application cancelled") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("wait_for_ever");
  CHECK(code_of(app.run({}, 20ms)) == Errc::timeout);
  wait_until("seen.count('began') == seen.count('finally')");
  auto answer = app.run_async({});
  wait_until("seen[-1:] == ['began']");
  CHECK(answer.cancel());
  CHECK(code_of(answer.get()) == Errc::cancelled);
  wait_until("seen[-1] == 'finally'");
}

TEST_CASE("A17: run() is refused where it would stop a loop, run_async() goes on there") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("method");
  const SystemClock clock;
  EventLoop loop(clock);
  const auto ask = [&]() -> Task<std::string> {
    CHECK(code_of(app.run({})) == Errc::unsupported);
    CHECK(code_of(AsgiApp::load("scene:method")) == Errc::unsupported);
    auto answer = app.run_async(request_to("/loop"));
    const Result<AsgiResponse> said = co_await std::move(answer);
    CHECK(EventLoop::current() == &loop);
    co_return said->body.data;
  };
  CHECK(run_task(loop, ask()) == "GET /loop");
}

TEST_CASE("A17: an application is found by its name, or it is said why not") {
  const Scene here(scene.c_str());
  CHECK(response_of(app_named("object_")).body.data == "class");
  CHECK(response_of(app_named("object_.method")).body.data == "bound");
  CHECK(code_of(AsgiApp::load("scene")) == Errc::import_failed);
  CHECK(code_of(AsgiApp::load("scene:")) == Errc::import_failed);
  CHECK(code_of(AsgiApp::load("no_such_module:app")) == Errc::import_failed);
  CHECK(code_of(AsgiApp::load("scene:no_such_name")) == Errc::unknown_function);
  const auto number = AsgiApp::load("scene:number");
  REQUIRE_FALSE(number.ok());
  CHECK(number.error().code == Errc::not_callable);
  CHECK(number.error().message == "scene:number is no ASGI application: a 'int' cannot be called");
}

TEST_CASE("A17: what cannot be asked of an application is refused") {
  AsgiApp app = [] {
    const Scene here(scene.c_str());
    AsgiApp found = app_named("method");
    CHECK(code_of(found.run(request_to("\xFF"))) == Errc::conversion);
    AsgiRequest socket;
    socket.scope.type = Scope::Type::websocket;
    CHECK(code_of(found.run(socket)) == Errc::unsupported);
    return found;
  }();
  CHECK(code_of(app.run({})) == Errc::not_initialized);
  const Scene here(scene.c_str());
  CHECK(response_of(app, request_to("/again")).body.data == "GET /again");
}

TEST_CASE("A17: shutdown under load settles every request") {
  const Scene here(scene.c_str());
  const AsgiApp waiting = app_named("wait_for_ever");
  const AsgiApp quick = app_named("method");
  const AsgiApp holding = app_named("hold");
  std::vector<future<AsgiResponse>> answers;
  for (int n = 0; n < 300; ++n) {
    answers.push_back(waiting.run_async({}));
    answers.push_back(quick.run_async({}));
    answers.push_back(holding.run_async({}));
  }
  static_cast<void>(PythonExecutor::shutdown({.drain = 0s}));
  for (auto& answer : answers) REQUIRE(answer.is_ready());
}

}  // namespace unirun::python
