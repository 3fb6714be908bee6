// E17: requests and websockets of ASGI, event by event.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <thread>
#include <utility>
#include <vector>

#include "framework/awaitables.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/asgi_scene.h"

namespace unirun::python {
namespace {

const std::string scene = std::string(asgi_helpers) + R"(
async def echo(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    while True:
        event = await receive()
        more = event["more_body"]
        await send({"type": "http.response.body", "body": event["body"], "more_body": more})
        if not more: return
async def ignore(scope, receive, send):
    await answer(send, "enough")
async def endless(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    while True:
        seen.append("sends")
        await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
async def never_reads(scope, receive, send):
    seen.append("began")
    await gate.wait()
    await answer(send, len(await body_of(receive)))
async def open_gate(scope, receive, send):
    gate.set()
    await answer(send, "open")
gate = asyncio.Event()
async def polite(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    while (event := await receive())["type"] == "http.request": seen.append(event["body"])
    seen.append(event)
    seen.append((await receive())["type"])
    try: await send({"type": "http.response.body"})
    except OSError as error: seen.append(str(error))
async def stubborn(scope, receive, send):
    try:
        seen.append("began")
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        seen.append("finally")
async def wait_in_send(scope, receive, send):
    try: await endless(scope, receive, send)
    except OSError as error: seen.append(type(error).__name__)
async def wait_for_ever(scope, receive, send):
    if scope["type"] == "websocket": await send({"type": "websocket.accept"})
    seen.append("waits")
    await asyncio.Event().wait()
async def hold_up(scope, receive, send):
    seen.append("holds")
    while True: pass
async def raise_before(scope, receive, send): raise ValueError("as asked")
async def raise_after(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    raise ValueError("as asked")
async def silent(scope, receive, send): pass

async def socket(scope, receive, send):
    seen.append(scope)
    seen.append(await receive())
    await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x", b"y")]})
    while (event := await receive())["type"] == "websocket.receive":
        del event["type"]
        await send({"type": "websocket.send"} | event)
    seen.append(event)
async def refuse(scope, receive, send):
    await receive()
    await send({"type": "websocket.close", "code": 3000, "reason": "not you"})
    seen.append(await receive())
async def deny(scope, receive, send):
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"who", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b" is it"})
async def close_with(scope, receive, send):
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close"} | eval(scope["path"]))
async def accept_and_return(scope, receive, send): await send({"type": "websocket.accept"})
async def accept_and_raise(scope, receive, send):
    await send({"type": "websocket.accept"})
    raise ValueError("as asked")
async def misuse(scope, receive, send):
    async def complain(**event):
        try: await send(event)
        except Exception as error: seen.append(type(error).__name__ + ": " + str(error))
    await complain(type="websocket.send", text="too early")
    await complain(type="http.response.start", status=200)
    await send({"type": "websocket.accept"})
    await complain(type="websocket.accept")
    await complain(type="websocket.send")
    await complain(type="websocket.send", text="both", bytes=b"both")
    await complain(type="websocket.http.response.start", status=200)
    await send({"type": "websocket.close"})
    await complain(type="websocket.send", text="too late")
)";

Scope websocket(std::string path = "/") {
  return {.type = Scope::Type::websocket, .path = std::move(path), .subprotocols = {"a", "b"}};
}

AsgiEvent part(std::string body, bool more = true) {
  return {.body = {std::move(body)}, .more_body = more};
}

AsgiEvent text(std::string words) {
  return {.type = EventType::websocket_receive, .text = std::move(words)};
}

}  // namespace

TEST_CASE("A17: a request streams both ways") {
  const Scene here(scene.c_str());
  AsgiConnection request = app_named("echo").open({});
  const AsgiEvent start = received(request);
  CHECK(start.type == EventType::http_response_start);
  CHECK(start.headers == AsgiHeaders{{{"a"}, {"b"}}});
  for (int n = 0; n < 100; ++n) {
    CHECK(say(request, part(std::to_string(n))) == Errc::ok);
    const AsgiEvent back = received(request);
    CHECK(back.body.data == std::to_string(n));
    CHECK(back.more_body);
  }
  CHECK(say(request, part("", false)) == Errc::ok);
  CHECK_FALSE(received(request).more_body);
  CHECK(end_of(request) == Errc::ok);
  CHECK(say(request, part("late")) == Errc::unsupported);
}

TEST_CASE("A17: coroutines of C++ stream on their own loop") {
  const Scene here(scene.c_str());
  const SystemClock clock;
  EventLoop loop(clock);
  AsgiConnection request = app_named("echo").open({}, {.window = 4});
  constexpr int parts = 1000;
  std::vector<std::string> bodies;
  const auto send_all = [&]() -> Task<> {
    for (int n = 0; n <= parts; ++n) {
      AsgiEvent event = part(std::to_string(n), n < parts);
      const Result<void> sent = co_await request.send(std::move(event));
      CHECK_MESSAGE(sent.ok(), text_of(sent));
    }
  };
  const auto read_all = [&]() -> Task<> {
    for (;;) {
      std::optional<Result<AsgiEvent>> event = co_await request.receive();
      if (!event) co_return;
      CHECK(EventLoop::current() == &loop);
      REQUIRE_MESSAGE(event->ok(), text_of(*event));
      if ((*event)->type == EventType::http_response_body) bodies.push_back((*event)->body.data);
    }
  };
  const auto do_both = [&]() -> Task<> {
    std::vector<Task<>> both;
    both.push_back(send_all());
    both.push_back(read_all());
    co_await when_all(std::move(both));
  };
  run_task(loop, do_both());
  REQUIRE(bodies.size() == parts + 1);
  CHECK(bodies.front() == "0");
  CHECK(bodies.back() == std::to_string(parts));
}

TEST_CASE("A17: a slow reader keeps the window, and the application waits") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("endless");
  AsgiConnection request = app.open({}, {.window = 8});
  wait_until("len(seen) == 7");  // The start is the eighth.
  for (int n = 0; n < 20; ++n) CHECK(Scene::value_of("len(seen)") == Value(7));
  CHECK(received(request).type == EventType::http_response_start);
  for (int n = 0; n < 3; ++n) CHECK(received(request).body.data.size() == 1000);
  wait_until("len(seen) == 11");  // Half of the window was free.
  for (int n = 0; n < 20; ++n) CHECK(Scene::value_of("len(seen)") == Value(11));
}

TEST_CASE("A17: an application that does not read has its client wait") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("never_reads");
  AsgiConnection request = app.open({}, {.window = 4});
  for (int n = 0; n < 3; ++n) CHECK(say(request, part("x")) == Errc::ok);
  CHECK(code_of(request.send_blocking(part("x"), 10ms)) == Errc::timeout);
  CHECK(response_of(app_named("open_gate")).body.data == "open");
  for (int n = 0; n < 100; ++n) CHECK(say(request, part("x")) == Errc::ok);
  CHECK(say(request, part("x", false)) == Errc::ok);
  CHECK(received(request).status == 200);
  CHECK(received(request).body.data == "105");
  CHECK(end_of(request) == Errc::ok);
}

TEST_CASE("A17: an application that wants no more of a body ends its sending") {
  const Scene here(scene.c_str());
  AsgiConnection request = app_named("ignore").open({});
  CHECK(received(request).status == 200);
  CHECK(received(request).body.data == "enough");
  CHECK(end_of(request) == Errc::ok);
  CHECK(say(request, part("more")) == Errc::stream_closed);
}

TEST_CASE("A17: a client that leaves is told of, after what it has said") {
  const Scene here(scene.c_str());
  AsgiConnection request = app_named("polite").open({}, patient);
  CHECK(received(request).type == EventType::http_response_start);
  CHECK(say(request, part("one")) == Errc::ok);
  CHECK(say(request, {.type = EventType::http_disconnect}) == Errc::ok);
  wait_until("len(seen) == 4");
  CHECK(Scene::value_of("seen") == Value(Array{Bytes{"one"}, Object{{"type", "http.disconnect"}},
                                               "http.disconnect", "the client has left"}));
  CHECK(say(request, part("two")) == Errc::stream_closed);
  CHECK(end_of(request) == Errc::stream_closed);
}

TEST_CASE("A17: an application that stays when its client has left is cancelled after a grace") {
  const Scene here(scene.c_str());
  {
    AsgiConnection request = app_named("stubborn").open({}, {.grace = 5ms});
    wait_until("seen == ['began']");
  }
  wait_until("seen == ['began', 'finally']");
  {
    AsgiConnection request = app_named("hold_up").open({}, {.grace = 5ms});
    wait_until("seen[-1] == 'holds'");
  }
  CHECK(response_of(app_named("ignore")).body.data == "enough");  // It was interrupted.
}

TEST_CASE("A17: a client that leaves wakes an application that waits for it to read") {
  const Scene here(scene.c_str());
  {
    AsgiConnection request = app_named("wait_in_send").open({}, {.window = 2, .grace = patience});
    wait_until("len(seen) == 1");
  }
  wait_until("seen[-1] == 'BrokenPipeError'");
}

TEST_CASE("A17: an exception is a 500 before the answer, and the end of the connection after it") {
  const Scene here(scene.c_str());
  for (const char* const name : {"raise_before", "silent"}) {
    AsgiConnection request = app_named(name).open({});
    CHECK(received(request).status == 500);
    CHECK(received(request).body.data == "Internal Server Error");
    CHECK(end_of(request) == Errc::python_exception);
  }
  AsgiConnection request = app_named("raise_after").open({});
  CHECK(received(request).status == 200);
  CHECK(end_of(request) == Errc::python_exception);
}

TEST_CASE("A17: a websocket is accepted, and talks in text and bytes") {
  const Scene here(scene.c_str());
  AsgiConnection socket = app_named("socket").open(websocket("/talk"), patient);
  const AsgiEvent accepted = received(socket);
  CHECK(accepted.type == EventType::websocket_accept);
  CHECK(accepted.subprotocol == "b");
  CHECK(accepted.headers == AsgiHeaders{{{"x"}, {"y"}}});
  CHECK(say(socket, text("h\xC3\xA9")) == Errc::ok);
  CHECK(received(socket).text == "h\xC3\xA9");
  CHECK(say(socket, {.type = EventType::websocket_receive, .bytes = Bytes{"\xFF"}}) == Errc::ok);
  CHECK(received(socket).bytes == Bytes{"\xFF"});
  CHECK(say(socket, text("")) == Errc::ok);
  CHECK(received(socket).text == "");
  CHECK(say(socket, text("\xFF")) == Errc::conversion);
  CHECK(say(socket, part("body")) == Errc::unsupported);
  socket.disconnect(1001, "going");
  wait_until("len(seen) == 3");
  CHECK(Scene::value_of("[seen[0][k] for k in ('type', 'scheme', 'path', 'subprotocols', "
                        "'extensions')] + ['method' in seen[0]]") ==
        Value(Array{"websocket", "ws", "/talk", Array{"a", "b"},
                    Object{{"websocket.http.response", Object()}}, false}));
  CHECK(
      Scene::value_of("seen[1:]") ==
      Value(Array{Object{{"type", "websocket.connect"}},
                  Object{{"type", "websocket.disconnect"}, {"code", 1001}, {"reason", "going"}}}));
}

TEST_CASE("A17: a websocket that is lost without a code has 1006") {
  const Scene here(scene.c_str());
  {
    AsgiConnection socket = app_named("socket").open(websocket(), patient);
    CHECK(received(socket).type == EventType::websocket_accept);
  }
  wait_until("len(seen) == 3");
  CHECK(Scene::value_of("seen[2]['code']") == Value(1006));
}

TEST_CASE("A17: a websocket is refused, plainly or with a response") {
  const Scene here(scene.c_str());
  AsgiConnection refused = app_named("refuse").open(websocket());
  const AsgiEvent close = received(refused);
  CHECK(close.type == EventType::websocket_close);
  CHECK(close.code == 3000);
  CHECK(close.reason == "not you");
  CHECK(end_of(refused) == Errc::ok);
  wait_until("seen");
  CHECK(Scene::value_of("seen[0]['code']") == Value(3000));
  AsgiConnection denied = app_named("deny").open(websocket());
  const AsgiEvent start = received(denied);
  CHECK(start.type == EventType::websocket_http_response_start);
  CHECK(start.status == 401);
  CHECK(received(denied).body.data == "who");
  CHECK(received(denied).body.data == " is it");
  CHECK(end_of(denied) == Errc::ok);
  AsgiConnection raised = app_named("raise_before").open(websocket());
  CHECK(received(raised).status == 500);
  CHECK(received(raised).type == EventType::websocket_http_response_body);
  CHECK(end_of(raised) == Errc::python_exception);
}

TEST_CASE("A17: the code with which a websocket is closed is the application's, else by its end") {
  const Scene here(scene.c_str());
  const auto closed = [](const char* name, const char* path = "/") {
    AsgiConnection socket = app_named(name).open(websocket(path));
    CHECK(received(socket).type == EventType::websocket_accept);
    const AsgiEvent close = received(socket);
    CHECK(close.type == EventType::websocket_close);
    const Errc end = end_of(socket);
    return std::tuple(close.code, close.reason, end);
  };
  CHECK(closed("close_with", "{}") == std::tuple(1000, "", Errc::ok));
  CHECK(closed("close_with", "{'code': 4001, 'reason': 'why'}") ==
        std::tuple(4001, "why", Errc::ok));
  CHECK(closed("close_with", "{'reason': None}") == std::tuple(1000, "", Errc::ok));
  CHECK(closed("accept_and_return") == std::tuple(1000, "", Errc::ok));
  CHECK(closed("accept_and_raise") == std::tuple(1011, "", Errc::python_exception));
  CHECK(closed("close_with", "{'code': 'x'}") == std::tuple(1011, "", Errc::python_exception));
}

TEST_CASE("A17: events of a websocket in a wrong order are raised where they are sent") {
  const Scene here(scene.c_str());
  AsgiConnection socket = app_named("misuse").open(websocket());
  CHECK(received(socket).type == EventType::websocket_accept);
  CHECK(received(socket).type == EventType::websocket_close);
  CHECK(end_of(socket) == Errc::ok);
  wait_until("len(seen) == 7");
  const char* const first =
      "send 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' first";
  const char* const open = "the websocket is open: send 'websocket.send' or 'websocket.close'";
  const auto wrong = [](const char* event, const char* why) {
    return Value("RuntimeError: '" + std::string(event) + "' cannot be sent now: " + why);
  };
  CHECK(Scene::value_of("seen") ==
        Value(Array{
            wrong("websocket.send", first), wrong("http.response.start", first),
            wrong("websocket.accept", open),
            "ValueError: 'websocket.send': either 'text' or 'bytes' has to be there",
            "ValueError: 'websocket.send': either 'text' or 'bytes' has to be there",
            wrong("websocket.http.response.start", open),
            wrong("websocket.send", "everything has been sent, and the connection is closed")}));
}

TEST_CASE("A17: shutdown under load ends every connection, a websocket with 1012") {
  const Scene here(scene.c_str());
  const AsgiApp app = app_named("wait_for_ever");
  std::vector<AsgiConnection> requests;
  std::vector<AsgiConnection> sockets;
  for (int n = 0; n < 50; ++n) {
    requests.push_back(app.open({}));
    sockets.push_back(app.open(websocket()));
  }
  wait_until("len(seen) == 100");
  AsgiConnection streaming = app_named("endless").open({});
  std::thread reader([&] {
    while (auto event = streaming.receive_blocking(patience)) {
      if (!event->ok()) return;
    }
  });
  static_cast<void>(PythonExecutor::shutdown({.drain = 0s}));
  reader.join();
  for (AsgiConnection& request : requests) CHECK(was_ended(end_of(request)));
  for (AsgiConnection& socket : sockets) {
    CHECK(received(socket).type == EventType::websocket_accept);
    CHECK(received(socket).code == 1012);
    CHECK(was_ended(end_of(socket)));
  }
  AsgiConnection late = app.open({});
  CHECK(end_of(late) == Errc::not_initialized);
}

TEST_CASE("A17: what would stop a loop is refused there") {
  const Scene here(scene.c_str());
  const SystemClock clock;
  EventLoop loop(clock);
  AsgiConnection request = app_named("ignore").open({});
  const auto ask = [&]() -> Task<int> {
    CHECK(say_all(request) == Errc::unsupported);
    CHECK(code_of(*request.receive_blocking()) == Errc::unsupported);
    co_return 0;
  };
  CHECK(run_task(loop, ask()) == 0);
}

}  // namespace unirun::python
