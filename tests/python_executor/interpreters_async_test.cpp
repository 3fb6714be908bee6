// E08, E10 and E17 where workers have interpreters of their own: coroutines and web applications
// live on their loops, in the main one.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "executors/python/asgi/asgi_app.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/async_scene.h"
#include "tests/python_executor/module_folder.h"

namespace unirun::python {
namespace {

// asyncio is imported where coroutines run, and nowhere else: see docs/embedding.md on what modules
// of Python's own do in interpreters before 3.14.
constexpr const char* kitchen = R"(
import contextvars

events = []
order = contextvars.ContextVar("order", default="none")

def where():
    import unirun
    return unirun.call("interpreter_here")
async def where_later():
    import asyncio
    await asyncio.sleep(0)
    return where()
def add(a, b=1): return a + b
async def add_later(a, b=1):
    import asyncio
    await asyncio.sleep(0)
    return a + b
async def fail(): raise ValueError("as asked")
async def leave(): raise SystemExit(3)
async def wait_for_ever(name):
    import asyncio
    try:
        events.append(name + " began")
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        events.append(name + " ended")
async def happened(): return list(events)
async def compute():
    while True: pass
def compute_here():
    while True: pass
async def order_here(): return order.get()
def order_through(name):
    import unirun
    def ask():
        order.set("tea")
        return unirun.call(name)
    return contextvars.copy_context().run(ask)
async def order_later_through(name):
    import unirun
    order.set("tea")
    return await unirun.async_call(name)
async def await_host(name, *args):
    import unirun
    return await unirun.async_call(name, *args)
async def in_a_thread():
    import asyncio
    return await asyncio.to_thread(where)
async def count_later(n):
    for i in range(n): yield i

async def answer(send, body, status=200):
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": str(body).encode()})
async def app(scope, receive, send):
    if scope["type"] == "lifespan": return await live(scope, receive, send)
    if scope["type"] == "websocket": return await talk(receive, send)
    match scope["path"]:
        case "/where": await answer(send, await where_later())
        case "/body": await answer(send, (await receive())["body"].decode())
        case "/state": await answer(send, scope["state"]["opened"])
        case "/host": await answer(send, await await_host("add_in_an_interpreter", 20, 22))
        case "/raise": raise ValueError("as asked")
        case "/wait": await wait_for_ever("request")
async def live(scope, receive, send):
    await receive()
    scope["state"]["opened"] = where()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    events.append("closed")
    await send({"type": "lifespan.shutdown.complete"})
async def talk(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"].upper()})
number = 42
)";

// What only the main interpreter takes.
constexpr const char* parlour = R"(
import faulthandler
from kitchen import *
)";

// An executor that finds these modules.
struct House {
  ModuleFolder folder;
  Running running;
  Registration interpreter_here;

  explicit House(PythonExecutor::Config config) : running(with(std::move(config))) {
    interpreter_here = PythonExecutor::register_function(
        "interpreter_here", [] { return PyInterpreterState_GetID(PyInterpreterState_Get()); },
        {.release_gil = false});
    REQUIRE(interpreter_here.ok());
  }

 private:
  PythonExecutor::Config with(PythonExecutor::Config config) {
    folder.add("kitchen", kitchen);
    folder.add("parlour", parlour);
    config.sys_path.push_back(folder.path());
    return config;
  }
};

PythonExecutor::Config own_workers() {
  return {.num_workers = 2,
          .use_subinterpreters = true,
          .allow_unsafe_subinterpreters = true,
          .num_loops = 2};
}

Result<Value> outcome_of(future<Value> outcome) {
  REQUIRE(outcome.wait_for(patience));
  return outcome.get();
}

Result<Value> ask(const std::string& module, std::string_view function, Args args = {},
                  Kwargs kwargs = {}, const CallOptions& options = {}) {
  return outcome_of(
      PythonExecutor::async_call(module, function, std::move(args), std::move(kwargs), options));
}

AsgiApp app_of(const std::string& name) {
  auto app = AsgiApp::load(name);
  REQUIRE_MESSAGE(app.ok(), text_of(app));
  return *std::move(app);
}

AsgiRequest request_to(std::string path, std::string body = "") {
  AsgiRequest request;
  request.scope.path = std::move(path);
  request.body = {std::move(body)};
  return request;
}

std::string answer_of(const AsgiApp& app, std::string path, std::string body = "") {
  const auto response = app.run(request_to(std::move(path), std::move(body)), patience);
  REQUIRE_MESSAGE(response.ok(), text_of(response));
  return response->error ? response->error->message : response->body.data;
}

void check_that_it_answers(const AsgiApp& app) {
  CHECK(answer_of(app, "/where") == "0");
  CHECK(answer_of(app, "/body", "soup") == "soup");
}

TEST_CASE(
    "E08: without interpreters of their own, by name, coroutines and applications run all the "
    "same") {
  PythonExecutor::Config config = own_workers();
#if PY_VERSION_HEX >= 0x030c0000 && !defined(Py_GIL_DISABLED)
  config.preload = {"faulthandler"};
  const std::string_view reason = "faulthandler";
#else
  const auto refused = PythonExecutor::start(config);
  CHECK(code_of(refused) == Errc::unsupported);
  CHECK(text_of(refused).find("use_subinterpreters") != std::string::npos);
  config.use_subinterpreters = false;
  const std::string_view reason = PY_VERSION_HEX < 0x030c0000 ? "3.12 has" : "has its GIL on";
#endif
  const House house(config);
  const ModeReport report = PythonExecutor::execution_mode();
  CHECK(report.mode == ExecutionMode::multi_executor);
  CHECK(report.reason.find(reason) != std::string::npos);
  for (const char* const module : {"kitchen", "parlour"}) {
    CAPTURE(module);
    CHECK(*ask(module, "where") == Value(0));
    CHECK(*ask(module, "where_later") == Value(0));
    check_that_it_answers(app_of(std::string(module) + ":app"));
  }
}

#if PY_VERSION_HEX >= 0x030c0000 && !defined(Py_GIL_DISABLED)

Result<Value> kitchen_call(std::string_view function, Args args = {}, Kwargs kwargs = {},
                           const CallOptions& options = {}) {
  return ask("kitchen", function, std::move(args), std::move(kwargs), options);
}

// On the thread of a loop, where the coroutines have said so.
void wait_for_event(const std::string& event) {
  const SystemClock clock;
  const Instant last = clock.now() + patience;
  for (;;) {
    const auto all = kitchen_call("happened");
    REQUIRE_MESSAGE(all.ok(), text_of(all));
    if (std::ranges::count(all->as_array(), Value(event)) > 0) return;
    REQUIRE_MESSAGE(clock.now() < last, event);
    std::this_thread::sleep_for(1ms);
  }
}

// ---- async_call() ----

TEST_CASE("A08: a coroutine runs in the main interpreter, a plain function in its worker's") {
  const House house(own_workers());
  for (int turn = 0; turn < 3; ++turn) {  // Later its name is known.
    CHECK(*kitchen_call("where_later") == Value(0));
    CHECK(kitchen_call("where")->as_int64() > 0);
    CHECK(*kitchen_call("add", {1}, {{"b", 2}}) == Value(3));
    CHECK(*kitchen_call("add_later", {1}, {{"b", 2}}) == Value(3));
    CHECK(*kitchen_call("in_a_thread") == Value(0));
  }
}

TEST_CASE("A08: what goes wrong in either interpreter is the future's, and all go on") {
  const House house(own_workers());
  CHECK(kitchen_call("fail").error().type == "builtins.ValueError");
  CHECK(kitchen_call("leave").error().type == "builtins.SystemExit");
  CHECK(code_of(kitchen_call("add", {1}, {{"c", 2}})) == Errc::python_exception);
  CHECK(code_of(kitchen_call("add_later", {1}, {{"c", 2}})) == Errc::python_exception);
  CHECK(code_of(kitchen_call("nothing_here")) == Errc::unknown_function);
  CHECK(code_of(kitchen_call("number")) == Errc::not_callable);
  CHECK(code_of(ask("no_such_module", "where")) == Errc::import_failed);
  CHECK(*kitchen_call("add_later", {41}) == Value(42));
  CHECK(*kitchen_call("add", {41}) == Value(42));
}

TEST_CASE("A08: a module that the main interpreter alone takes has its coroutines run there") {
  const House house(own_workers());
  for (int turn = 0; turn < 2; ++turn) {
    CHECK(*ask("parlour", "where_later") == Value(0));
    const auto plain = ask("parlour", "where");
    REQUIRE(code_of(plain) == Errc::import_failed);
    CHECK(text_of(plain).find("faulthandler") != std::string::npos);
  }
}

TEST_CASE("A08: a coroutine that is cancelled, or late, ends on its loop, and its finally runs") {
  const House house(own_workers());
  auto waiting = PythonExecutor::async_call("kitchen", "wait_for_ever", {"one"});
  wait_for_event("one began");
  CHECK(waiting.cancel());
  CHECK(code_of(waiting) == Errc::cancelled);
  wait_for_event("one ended");

  CancellationSource source;
  auto obeying = PythonExecutor::async_call("kitchen", "wait_for_ever", {"two"}, {},
                                            {.token = source.token()});
  wait_for_event("two began");
  source.request_cancellation();
  CHECK(code_of(obeying) == Errc::cancelled);
  wait_for_event("two ended");

  CHECK(code_of(kitchen_call("wait_for_ever", {"late"}, {}, {.timeout = 20ms})) == Errc::timeout);
  CHECK(code_of(kitchen_call("compute", {}, {}, {.timeout = 20ms})) == Errc::timeout);
  CHECK(code_of(kitchen_call("compute_here", {}, {}, {.timeout = 20ms})) == Errc::timeout);
  CHECK(*kitchen_call("where_later") == Value(0));
  CHECK(kitchen_call("where")->as_int64() > 0);
}

TEST_CASE(
    "A08: context variables go from coroutine to coroutine, and never to another interpreter") {
  const House house(own_workers());
  const auto order = PythonExecutor::register_function(
      "order_here", [] { return PythonExecutor::async_call("kitchen", "order_here"); });
  REQUIRE(order.ok());
  CHECK(*kitchen_call("order_later_through", {"order_here"}) == Value("tea"));
  CHECK(*kitchen_call("order_through", {"order_here"}) == Value("none"));
}

TEST_CASE("A08: a coroutine awaits plain functions in interpreters, through C++") {
  const House house(own_workers());
  const auto there = PythonExecutor::register_function(
      "where_plain_functions_run", [] { return PythonExecutor::async_call("kitchen", "where"); },
      {.async = true});
  REQUIRE(there.ok());
  const auto answer = kitchen_call("await_host", {"where_plain_functions_run"});
  REQUIRE_MESSAGE(answer.ok(), text_of(answer));
  CHECK(answer->as_int64() > 0);
}

TEST_CASE("A08: thousands of calls of both kinds at once have their own answers, and add up") {
  const House house(own_workers());
  constexpr int many = 4000;
  std::vector<future<Value>> outcomes;
  outcomes.reserve(many);
  for (int n = 0; n < many; ++n) {
    outcomes.push_back(
        PythonExecutor::async_call("kitchen", n % 2 == 0 ? "add" : "add_later", {n}));
  }
  for (int n = 0; n < many; ++n) {
    CAPTURE(n);
    CHECK(*outcome_of(std::move(outcomes[static_cast<std::size_t>(n)])) == Value(n + 1));
  }
  REQUIRE(PythonExecutor::shutdown({.drain = patience}).ok());
  const Stats stats = PythonExecutor::get_stats();
  CHECK(stats.submitted == stats.tasks_executed + stats.tasks_failed + stats.cancelled +
                               stats.timed_out + stats.rejected);
}

TEST_CASE("A08: a shutdown ends what runs on loops and in interpreters, again and again") {
  for (int turn = 0; turn < 5; ++turn) {
    CAPTURE(turn);
    const House house(own_workers());
    std::vector<future<Value>> outcomes;
    for (int n = 0; n < 8; ++n) {
      outcomes.push_back(
          PythonExecutor::async_call("kitchen", "wait_for_ever", {std::to_string(turn)}));
    }
    wait_for_event(std::to_string(turn) + " began");
    for (int n = 0; n < 8; ++n)
      outcomes.push_back(PythonExecutor::async_call("kitchen", "compute_here"));
    REQUIRE(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
    for (auto& outcome : outcomes) {
      REQUIRE(outcome.is_ready());
      const Errc code = code_of(outcome);
      CHECK((code == Errc::cancelled || code == Errc::interrupted));
    }
  }
}

// ---- stream() ----

TEST_CASE(
    "A10: an asynchronous generator of a module that the main interpreter alone takes streams") {
  const House house(own_workers());
  const SystemClock clock;
  EventLoop loop(clock);
  Stream stream = PythonExecutor::stream("parlour", "count_later", {100});
  std::vector<std::int64_t> items;
  const auto read = [](Stream& from, std::vector<std::int64_t>& to) -> Task<std::string> {
    while (auto item = co_await from.next()) {
      if (!item->ok()) co_return item->error().message;
      to.push_back((*item)->as_int64());
    }
    co_return "";
  };
  CHECK(run_task(loop, read(stream, items)) == "");
  REQUIRE(items.size() == 100);
  CHECK(items.back() == 99);
}

// ---- AsgiApp ----

TEST_CASE(
    "A17: an application runs on one loop in the main interpreter, whatever its modules take") {
  const House house(own_workers());
  for (const char* const name : {"kitchen:app", "parlour:app"}) {
    CAPTURE(name);
    const AsgiApp app = app_of(name);
    for (int turn = 0; turn < 3; ++turn) check_that_it_answers(app);
    const auto raised = app.run(request_to("/raise"), patience);
    REQUIRE_MESSAGE(raised.ok(), text_of(raised));
    CHECK(raised->status == 500);
    CHECK(raised->error->type == "builtins.ValueError");
  }
}

TEST_CASE("A17: an application that is none is refused with what the main interpreter says") {
  const House house(own_workers());
  CHECK(code_of(AsgiApp::load("no_such_module:app")) == Errc::import_failed);
  CHECK(code_of(AsgiApp::load("kitchen:no_app")) == Errc::unknown_function);
  CHECK(code_of(AsgiApp::load("parlour:no_app")) == Errc::unknown_function);
  CHECK(code_of(AsgiApp::load("kitchen:number")) == Errc::not_callable);
  CHECK(code_of(AsgiApp::load("kitchen")) == Errc::import_failed);
  // What a context defines is its interpreter's.
  auto context = PythonExecutor::bind({.name = "cook", .preload = "from kitchen import app"});
  REQUIRE_MESSAGE(context.ok(), text_of(context));
  auto loaded =
      PythonExecutor::submit([]() -> Result<bool> { return AsgiApp::load("__main__:app").ok(); },
                             {.context = context->id()});
  REQUIRE(loaded.wait_for(patience));
  CHECK(*loaded.get() == false);
}

TEST_CASE("A17: an application keeps its state from start to end, and talks over websockets") {
  const House house(own_workers());
  const AsgiApp app = app_of("kitchen:app");
  auto started = app.lifespan_startup();
  REQUIRE(started.wait_for(patience));
  CHECK(started.get().ok());
  CHECK(answer_of(app, "/state") == "0");
  AsgiConnection socket = app.open({.type = Scope::Type::websocket});
  const auto receive = [&socket]() -> AsgiEvent {
    auto event = socket.receive_blocking(patience);
    REQUIRE(event);
    REQUIRE_MESSAGE(event->ok(), text_of(*event));
    return **std::move(event);
  };
  CHECK(receive().type == AsgiEvent::Type::websocket_accept);
  CHECK(socket.send_blocking({.type = AsgiEvent::Type::websocket_receive, .text = "tea"}, patience)
            .ok());
  CHECK(receive().text == "TEA");
  socket.disconnect();
  auto ended = app.lifespan_shutdown();
  REQUIRE(ended.wait_for(patience));
  CHECK(ended.get().ok());
  wait_for_event("closed");
}

TEST_CASE("A17: requests wait for plain functions in interpreters, and tasks there for requests") {
  const House house(own_workers());
  const auto add = PythonExecutor::register_function(
      "add_in_an_interpreter",
      [](int one, int other) {
        return PythonExecutor::async_call("kitchen", "add", {one, other});
      },
      {.async = true});
  REQUIRE(add.ok());
  const AsgiApp app = app_of("kitchen:app");
  CHECK(answer_of(app, "/host") == "42");
  std::vector<future<std::string>> answers;
  for (int n = 0; n < 20; ++n) {
    answers.push_back(PythonExecutor::submit([app, n]() -> Result<std::string> {
      // On a worker, and with its interpreter's GIL.
      auto loaded = AsgiApp::load("kitchen:app");
      if (!loaded.ok()) return loaded.error();
      const AsgiApp& one = n % 2 == 0 ? app : *loaded;
      auto response = one.run(request_to("/body", std::to_string(n)));
      if (!response.ok()) return response.error();
      return response->body.data;
    }));
  }
  for (int n = 0; n < 20; ++n) {
    auto& answer = answers[static_cast<std::size_t>(n)];
    REQUIRE(answer.wait_for(patience));
    const auto words = answer.get();
    REQUIRE_MESSAGE(words.ok(), text_of(words));
    CHECK(*words == std::to_string(n));
  }
}

TEST_CASE("A17: a shutdown settles every request of an application beside interpreters") {
  std::optional<AsgiApp> app;
  for (int turn = 0; turn < 3; ++turn) {
    CAPTURE(turn);
    const House house(own_workers());
    if (!app) app = app_of("kitchen:app");
    check_that_it_answers(*app);  // Also of an executor before.
    std::vector<future<AsgiResponse>> waiting;
    for (int n = 0; n < 20; ++n) waiting.push_back(app->run_async(request_to("/wait")));
    wait_for_event("request began");
    REQUIRE(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
    for (auto& response : waiting) {
      REQUIRE(response.is_ready());
      const Errc code = code_of(response);
      CHECK((code == Errc::cancelled || code == Errc::interrupted));
    }
  }
}

#endif

}  // namespace
}  // namespace unirun::python
