// E07 and E08: coroutine functions of contexts, as tasks of asyncio's on the context's own thread.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "executors/python/interpreter/gil_guard.h"
#include "tests/python_executor/async_scene.h"
#include "tests/python_executor/sanitizer.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

// What all contexts share, of the module "scene".
constexpr const char* scene = R"(
events = []
)";

// What each has for itself.
constexpr const char* names = R"(
import asyncio, scene, threading, time
n = 0
log = []
threads = set()
gates = {}
def note(what=None):
    threads.add(threading.get_native_id())
    if what is not None: log.append(what)
def plain(value):
    note(value)
    return [value, threading.get_native_id()]
async def echo(value):
    note(value)
    return [value, threading.get_native_id()]
async def nap(seconds, value=None):
    note()
    await asyncio.sleep(seconds)
    note()
    return value
async def add():
    global n
    note()
    await asyncio.sleep(0)
    n += 1
async def wait(name):
    gates[name] = asyncio.Event()
    try:
        note(name + " began")
        await gates[name].wait()
    finally:
        await asyncio.sleep(0)
        note(name + " ended")
        scene.events.append(name + " ended")
    return name
def open(name): gates[name].set()
async def compute():
    note("computes")
    while True: pass
async def swallow():
    note("swallows")
    while True:
        try: await asyncio.Event().wait()
        except asyncio.CancelledError: note("swallowed")
async def fail(): raise ValueError("as asked")
async def leave(): raise SystemExit(3)
async def ask(name, *given):
    import unirun
    return unirun.call(name, *given)
def ask_plainly(name, *given):
    import unirun
    return unirun.call(name, *given)
async def in_a_thread(): return await asyncio.to_thread(threading.get_native_id)
def run_a_loop(): return asyncio.run(nap(0, "run"))
def sees_a_loop():
    try: asyncio.get_running_loop()
    except RuntimeError: return False
    return True
async def leave_behind():
    async def left():
        await asyncio.sleep(0.001)
        note("left behind")
        gates["left"].set()
    gates["left"] = asyncio.Event()
    asyncio.create_task(left())
async def join_what_was_left(): return await gates["left"].wait()
)";

Context bound(const std::string& code = names) {
  auto context = PythonExecutor::bind({.preload = code});
  REQUIRE_MESSAGE(context.ok(), text_of(context));
  return *std::move(context);
}

future<Value> go(const Context& context, const char* function, Args args = {}, Kwargs kwargs = {},
                 CallOptions options = {}) {
  options.context = context.id();
  return PythonExecutor::async_call("__main__", function, std::move(args), std::move(kwargs),
                                    options);
}

// Ends the executor: then all that was submitted has been counted as ended.
void check_numbers() {
  if (PythonExecutor::is_initialized()) CHECK(PythonExecutor::shutdown({.drain = patience}).ok());
  const auto stats = PythonExecutor::get_stats();
  CHECK(stats.submitted == stats.tasks_executed + stats.tasks_failed + stats.cancelled +
                               stats.timed_out + stats.rejected);
}

}  // namespace

TEST_CASE("A08: a coroutine function of a context sees its names and runs on its thread") {
  const Scene running(scene, {.num_workers = 2});
  Context one = bound(std::string(names) + "who = 'one'\nasync def me(): return who");
  Context other = bound(std::string(names) + "who = 'other'\nasync def me(): return who");
  Context third = bound(std::string(names) + "def me(): return 'no coroutine'");
  CHECK(*go(one, "me").get() == Value("one"));
  CHECK(*go(other, "me").get() == Value("other"));
  CHECK(*go(third, "me").get() == Value("no coroutine"));
  for (Context* const context : {&one, &other, &third}) {
    const Value here = Array{7, context->thread_id()};
    CHECK(*go(*context, "echo", {7}).get() == here);
    CHECK(*go(*context, "plain", {7}).get() == here);
    CHECK(*go(*context, "nap", {0.001, "slept"}).get() == Value("slept"));
    CHECK(*context->eval("threads == {threading.get_native_id()}") == Value(true));
  }
}

TEST_CASE("A08: all else of a context has its turn while its coroutine sleeps") {
  const Scene running(scene);
  Context context = bound();
  auto waiting = go(context, "wait", {"a"});
  CHECK(*context.eval("log") == Value(Array{"a began"}));
  CHECK(context.call("__main__", "plain", {1}).ok());
  CHECK(go(context, "plain", {2}).get().ok());
  CHECK(*PythonExecutor::submit([] { return 3; }, {.context = context.id()}).get() == 3);
  CHECK(*go(context, "nap", {0.001, 4}).get() == Value(4));
  CHECK(*PythonExecutor::submit([] { return 5; }).get() == 5);
  CHECK_FALSE(waiting.is_ready());
  CHECK(go(context, "open", {"a"}).get().ok());
  CHECK(*waiting.get() == Value("a"));
  CHECK(*context.eval("log") == Value(Array{"a began", 1, 2, "a ended"}));
}

TEST_CASE("A08: what is called in a context begins in the order of the calls") {
  const Scene running(scene);
  Context context = bound();
  std::vector<future<Value>> calls;
  Array expected;
  for (int at = 0; at < 1000; ++at) {
    calls.push_back(go(context, at % 3 == 0 ? "plain" : "echo", {at}));
    expected.emplace_back(at);
  }
  for (auto& call : calls) CHECK(call.get().ok());
  CHECK(*context.eval("log") == Value(expected));
}

TEST_CASE("A07: thousands of coroutines of two contexts at once end exact, each on its thread") {
  const Scene running(scene, {.num_workers = 2});
  std::vector<Context> contexts;
  contexts.push_back(bound());
  contexts.push_back(bound());
  CHECK(contexts[0].thread_id() != contexts[1].thread_id());
  constexpr int each = 2000;
  std::vector<future<Value>> calls;
  for (int at = 0; at < each; ++at) {
    for (const Context& context : contexts) {
      calls.push_back(go(context, "add"));
      calls.push_back(go(context, "nap", {0.01}));
    }
  }
  for (auto& call : calls) CHECK(call.get().ok());
  for (Context& context : contexts) {
    CHECK(*context.eval("n") == Value(each));
    CHECK(*context.eval("threads == {threading.get_native_id()}") == Value(true));
  }
  check_numbers();
}

TEST_CASE(
    "A08: what goes wrong in a context's coroutine is the future's, and the context lives on") {
  const Scene running(scene);
  Context context = bound();
  const auto raised = go(context, "fail").get();
  REQUIRE_FALSE(raised.ok());
  CHECK(raised.error().type == "builtins.ValueError");
  CHECK(raised.error().traceback.find("in fail") != std::string::npos);
  CHECK(go(context, "leave").get().error().type == "builtins.SystemExit");
  CHECK(code_of(go(context, "nowhere").get()) == Errc::unknown_function);
  CHECK(code_of(go(context, "n").get()) == Errc::not_callable);
  CHECK(go(context, "nap", {1, 2, 3, 4}).get().error().type == "builtins.TypeError");
  CHECK(*go(context, "nap", {0, "well"}).get() == Value("well"));
  CHECK(context.close().ok());
  CHECK(code_of(go(context, "nap", {0}).get()) == Errc::unsupported);
  check_numbers();
}

TEST_CASE(
    "A08: a context's coroutine is cancelled by its future or its token, and awaits what it must") {
  const Scene running(scene);
  Context context = bound();
  CancellationSource source;
  auto by_future = go(context, "wait", {"a"});
  auto by_token = go(context, "wait", {"b"}, {}, {.token = source.token()});
  CHECK(*context.eval("log") == Value(Array{"a began", "b began"}));
  CHECK(by_future.cancel());
  source.request_cancellation();
  CHECK(code_of(by_future.get()) == Errc::cancelled);
  CHECK(code_of(by_token.get()) == Errc::cancelled);
  // Whoever waits for both to have ended is a coroutine, too.
  REQUIRE(context
              .exec("async def both_ended():\n"
                    "    while len(log) < 4: await asyncio.sleep(0.001)\n")
              .ok());
  CHECK(go(context, "both_ended").get().ok());
  CHECK(*context.eval("sorted(log[2:])") == Value(Array{"a ended", "b ended"}));
}

TEST_CASE(
    "A08: at its deadline a context's coroutine is cancelled, also one that computes for ever") {
  const Scene running(scene);
  Context context = bound();
  const auto strike = [&](const char* function, const Args& args, const char* has_begun) {
    until_begun_in_time([&](Duration timeout) {
      const auto outcome = go(context, function, args, {}, {.timeout = timeout}).get();
      CHECK(code_of(outcome) == Errc::timeout);
      return *context.eval(has_begun) == Value(true);
    });
  };
  strike("wait", {"a"}, "'a began' in log");
  strike("compute", {}, "'computes' in log");
  CHECK(*go(context, "nap", {0, "well"}).get() == Value("well"));
  CHECK(code_of(go(context, "nap", {0}, {}, {.timeout = 0ms}).get()) == Errc::timeout);
}

// Nobody finds more than `count` new descriptors as long as it lives.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t count) {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const int next = ::dup(0);
    ::close(next);
    const rlimit now{static_cast<rlim_t>(next) + count, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &now) == 0);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit before_{};
};

TEST_CASE("A08: coroutines that find no descriptor for their loop fail, and later ones run" *
          doctest::skip(sanitizer_needs_descriptors)) {
  for (rlim_t count = 0; count < 8; ++count) {
    CAPTURE(count);
    const Scene running("async def echo(value): return value");
    Context context = bound();
    {
      const FewDescriptors few(count);
      const auto refused = PythonExecutor::async_call("scene", "echo", {1}).get();
      const auto refused_too = go(context, "nap", {0, "well"}).get();
      if (count == 0) {
        CHECK_FALSE(refused.ok());
        CHECK_FALSE(refused_too.ok());
      }
      for (const auto& error : {refused, refused_too}) {
        if (!error.ok())
          CHECK_MESSAGE(text_of(error).find("open files") != std::string::npos, text_of(error));
      }
    }
    CHECK(*PythonExecutor::async_call("scene", "echo", {1}).get() == Value(1));
    CHECK(*go(context, "nap", {0, "well"}).get() == Value("well"));
    check_numbers();
  }
}

TEST_CASE("A18: a context's interruption strikes the step that its coroutine takes") {
  const Scene running(scene);
  Context context = bound();
  auto sleeping = go(context, "wait", {"a"});
  auto computing = go(context, "compute");
  while (!context.interrupt().ok()) std::this_thread::sleep_for(1ms);
  CHECK(computing.get().error().type == "unirun.Interrupted");
  CHECK(go(context, "open", {"a"}).get().ok());
  CHECK(*sleeping.get() == Value("a"));
}

TEST_CASE("A07: a context that is closed cancels its coroutines, and ends when they have") {
  const Scene running(scene);
  Context other = bound();
  auto goes_on = go(other, "wait", {"other"});
  Context context = bound();
  auto waiting = go(context, "wait", {"a"});
  CHECK(*context.eval("log") == Value(Array{"a began"}));
  std::latch busy{1};
  auto before = PythonExecutor::submit(
      [&] {
        const GILRelease released;
        busy.wait();
      },
      {.context = context.id()});
  auto late = go(context, "wait", {"late"});
  auto plain = go(context, "plain", {1});
  std::thread closer([&] { CHECK(context.close().ok()); });
  while (!go(context, "plain", {2}).is_ready())  // Until it is closed, and refuses at once.
    std::this_thread::sleep_for(1ms);
  busy.count_down();
  closer.join();
  CHECK(before.get().ok());
  CHECK(plain.get().ok());  // What was queued and is no coroutine.
  CHECK(code_of(waiting.get()) == Errc::cancelled);
  CHECK(code_of(late.get()) == Errc::cancelled);
  CHECK(Scene::value_of("events") == Value(Array{"a ended"}));
  CHECK_FALSE(goes_on.is_ready());
  CHECK(go(other, "open", {"other"}).get().ok());
  CHECK(*goes_on.get() == Value("other"));
  check_numbers();
}

TEST_CASE("A08: a shutdown lets a context's coroutines end, or cancels and awaits them") {
  Array events;
  const auto tell = PythonExecutor::register_function(
      "tell_end", [&](const std::string& what) { events.emplace_back(what); });
  const std::string code = std::string(names) + R"(
async def tell(seconds):
    import unirun
    try: await asyncio.sleep(seconds)
    finally:
        await asyncio.sleep(0.001)
        unirun.call("tell_end", str(seconds))
)";
  for (const bool drains : {true, false}) {
    const Scene running(scene);
    Context context = bound(code);
    auto telling = go(context, "tell", {drains ? 0.01 : 3600.0});
    CHECK(*context.eval("n") == Value(0));
    CHECK(PythonExecutor::shutdown({.drain = drains ? patience : 0s, .grace = patience}).ok());
    CHECK(code_of(telling.get()) == (drains ? Errc::ok : Errc::cancelled));
    check_numbers();
  }
  CHECK(events == Array{"0.01", "3600.0"});
}

TEST_CASE("A08: a context's coroutine that swallows its cancellation is stuck at the end") {
  const Scene running(scene);
  Context context = bound();
  auto stubborn = go(context, "swallow");
  CHECK(*context.eval("log") == Value(Array{"swallows"}));
  const auto ended = PythonExecutor::shutdown({.drain = 0s, .grace = 50ms});
  CHECK(code_of(ended) == Errc::stuck);
  CHECK(code_of(stubborn.get()) == Errc::stuck);
}

TEST_CASE("A07: a coroutine that does not come back takes its context and its siblings along") {
  std::latch open{1};
  std::atomic<bool> is_held = false;
  const auto held = PythonExecutor::register_function("hold_worker", [&] {
    is_held = true;
    open.wait();
  });
  {
    const Scene running(scene);
    Context context = bound();
    auto sibling = go(context, "wait", {"a"});
    until_begun_in_time([&](Duration timeout) {
      auto stuck = go(context, "ask", {"hold_worker"}, {}, {.timeout = timeout});
      CHECK(code_of(stuck.get()) == Errc::timeout);
      return is_held.load();
    });
    CHECK(code_of(sibling.get()) == Errc::worker_lost);
    CHECK(code_of(go(context, "nap", {0}).get()) == Errc::worker_lost);
    CHECK(code_of(context.close()) == Errc::worker_lost);
    Context next = bound();
    CHECK(*go(next, "nap", {0, "well"}).get() == Value("well"));
    open.count_down();
  }
}

TEST_CASE("A13: a coroutine of a context waits for nothing, what is no coroutine waits for those") {
  const Scene running(scene);
  Context context = bound();
  const auto waiter = PythonExecutor::register_function("wait_for_nap", [&](bool own) {
    return own ? go(context, "nap", {0.001, "slept"}).get()
               : PythonExecutor::async_call("math", "sqrt", {4}).get();
  });
  for (const bool own : {true, false}) {
    const auto refused = go(context, "ask", {"wait_for_nap", own}).get();
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().message.find("await unirun.async_call") != std::string::npos);
  }
  // On the context's worker, whose loop has its turns beneath.
  CHECK(*go(context, "ask_plainly", {"wait_for_nap", true}).get() == Value("slept"));
  auto asked = PythonExecutor::submit([&] {
    return go(context, "nap", {0.001, "slept, too"}).get();
  });
  const auto outcome = asked.get();
  REQUIRE_MESSAGE(outcome.ok(), text_of(outcome));
  CHECK(*outcome == Value("slept, too"));
}

TEST_CASE(
    "A08: a context's coroutine uses threads, and plain functions may run a loop of their own") {
  const Scene running(scene);
  Context context = bound();
  auto waiting = go(context, "wait", {"a"});
  const auto elsewhere = go(context, "in_a_thread").get();
  REQUIRE_MESSAGE(elsewhere.ok(), text_of(elsewhere));
  CHECK(*elsewhere != Value(context.thread_id()));
  CHECK(*go(context, "sees_a_loop").get() == Value(false));
  CHECK(*go(context, "run_a_loop").get() == Value("run"));
  CHECK(go(context, "leave_behind").get().ok());
  CHECK(go(context, "join_what_was_left").get().ok());
  CHECK(go(context, "open", {"a"}).get().ok());
  CHECK(*waiting.get() == Value("a"));
}

TEST_CASE(
    "A08: a context's coroutine sees the context variables of the Python code that calls it") {
  const Scene running(
      "import contextvars\nvariable = contextvars.ContextVar('v', default='none')\n");
  Context context = bound(R"(
import asyncio, scene
async def see():
    await asyncio.sleep(0)
    return scene.variable.get()
)");
  future<Value> seen;
  const auto caller =
      PythonExecutor::register_function("call_see", [&]() -> void { seen = go(context, "see"); });
  CHECK(*go(context, "see").get() == Value("none"));
  auto calling = PythonExecutor::submit([]() -> Result<void> {
    const Reference globals =
        Reference::steal(Py_BuildValue("{s:O}", "__builtins__", PyEval_GetBuiltins()));
    const Reference ran =
        Reference::steal(PyRun_String(R"(
import contextvars, scene, unirun
def call():
    scene.variable.set('caller')
    unirun.call('call_see')
contextvars.copy_context().run(call)
)",
                                      Py_file_input, globals.get(), globals.get()));
    if (!ran) return error_of_exception();
    return {};
  });
  const auto outcome = calling.get();
  REQUIRE_MESSAGE(outcome.ok(), text_of(outcome));
  CHECK(*seen.get() == Value("caller"));
}

}  // namespace unirun::python
