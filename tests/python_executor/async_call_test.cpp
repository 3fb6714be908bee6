// E08: coroutines on loops of asyncio's, called from C++.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "executors/python/async/coroutine_loop.h"
#include "executors/python/interpreter/gil_guard.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/async_scene.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

constexpr const char* scene = R"(
import asyncio, contextvars, functools, threading, time, types

trace = contextvars.ContextVar("trace", default="none")
events = []
threads = set()

async def echo(value): return value
def plain(value): return [value, threading.get_native_id()]
async def thread(): return threading.get_native_id()
async def nap(seconds, value=None):
    await asyncio.sleep(seconds)
    return value
async def fail(): raise ValueError("as asked")
async def leave(): raise SystemExit(3)
async def spawn_and_leave():
    async def left(): raise SystemExit(4)
    asyncio.create_task(left())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
async def is_alone(): return asyncio.all_tasks() == {asyncio.current_task()}
async def named(): return asyncio.current_task().get_name(), asyncio.get_running_loop().is_running()
async def wait_for_ever(name):
    try:
        threads.add(threading.get_native_id())
        events.append(name + " began")
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        events.append(name + " ended")
async def swallow():
    events.append("swallowing")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("swallowed")
async def compute(): 
    while True: pass
async def in_a_thread(): return await asyncio.to_thread(threading.get_native_id)
async def see_trace(): return trace.get()
def see_trace_too(): return trace.get()
def see_trace_through(name):
    import unirun
    def ask():
        trace.set("abc")
        return unirun.call(name)
    return contextvars.copy_context().run(ask)
class Adder:
    async def __call__(self, a, b): return a + b
    @staticmethod
    async def add(a, b): return a + b
adder = Adder()
partly = functools.partial(nap, 0)
@types.coroutine
def old_style():
    yield from asyncio.sleep(0).__await__()
    return 7
async def call_from_a_coroutine(name):
    import unirun
    return unirun.call(name)
async def await_in_a_coroutine(name):
    import unirun
    return await unirun.async_call(name)
held, let_go = threading.Event(), threading.Event()
async def hold_loop_up():
    held.set()
    return let_go.wait(60)
def let_loop_go():
    let_go.set()
    return threading.get_native_id()
async def turncoat(): return "coroutine"
def turn(code): exec(code, globals())
async def first_called_late(): return "done"
async def deep(levels): return 0 if levels == 0 else 1 + await deep(levels - 1)
async def socket_pair():
    import socket
    one, other = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=one)
    other_reader, other_writer = await asyncio.open_connection(sock=other)
    writer.write(b"ping")
    got = await other_reader.readexactly(4)
    for end in (writer, other_writer):
        end.close()
        await end.wait_closed()
    return got
async def called_from_a_thread():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    threading.Thread(target=lambda: loop.call_soon_threadsafe(done.set_result, 5)).start()
    return await done
)";

Result<Value> call(std::string_view function, Args args = {}, Kwargs kwargs = {}) {
  return PythonExecutor::async_call("scene", function, std::move(args), std::move(kwargs)).get();
}

Duration processor_time() {
  ::rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

}  // namespace

TEST_CASE("A08: a coroutine function runs on a loop, and any other on a worker") {
  const Scene running(scene);
  CHECK(*call("echo", {Value(42)}) == Value(42));
  CHECK(*call("nap", {0.001, "late"}) == Value("late"));
  CHECK(*call("nap", {0.001}, {{"value", 5}}) == Value(5));
  const auto loop = call("thread");
  REQUIRE_MESSAGE(loop.ok(), text_of(loop));
  CHECK(call("thread")->as_int64() == loop->as_int64());
  const auto plain = call("plain", {1});
  REQUIRE_MESSAGE(plain.ok(), text_of(plain));
  CHECK(plain->as_array()[0] == Value(1));
  CHECK(plain->as_array()[1] != *loop);
  CHECK(call("named")->as_array()[1] == Value(true));
}

TEST_CASE("A08: whatever is a coroutine function for Python is one here") {
  const Scene running(scene);
  CHECK(*call("adder", {1, 2}) == Value(3));
  CHECK(*call("Adder.add", {1, 2}) == Value(3));
  CHECK(*call("partly", {"x"}) == Value("x"));
  CHECK(*call("deep", {100}) == Value(100));
}

TEST_CASE(
    "A08: a loop is asyncio's: threads, descriptors and calls from other threads work on it") {
  const Scene running(scene);
  const auto other = call("in_a_thread");
  REQUIRE_MESSAGE(other.ok(), text_of(other));
  CHECK(*other != *call("thread"));
  const auto got = call("socket_pair");
  REQUIRE_MESSAGE(got.ok(), text_of(got));
  CHECK(*got == Value(Bytes{"ping"}));
  CHECK(*call("called_from_a_thread") == Value(5));
}

TEST_CASE("A08: what goes wrong is the future's, and the loop lives on") {
  const Scene running(scene);
  const auto failed = call("fail");
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().code == Errc::python_exception);
  CHECK(failed.error().type == "builtins.ValueError");
  CHECK(failed.error().traceback.find("in fail") != std::string::npos);
  CHECK(call("leave").error().type == "builtins.SystemExit");
  CHECK(call("spawn_and_leave").ok());
  CHECK(code_of(call("echo")) == Errc::python_exception);  // Its argument is missing.
  CHECK(code_of(call("nothing")) == Errc::unknown_function);
  CHECK(code_of(PythonExecutor::async_call("no_such_module", "f").get()) == Errc::import_failed);
  CHECK(code_of(PythonExecutor::async_call("scene", "a b").get()) == Errc::import_failed);
  CHECK(code_of(call("events")) == Errc::not_callable);
  CHECK(*call("echo", {1}) == Value(1));
}

TEST_CASE("A08: without an executor the future says so") {
  CHECK(code_of(PythonExecutor::async_call("scene", "echo", {1}).get()) == Errc::not_initialized);
}

TEST_CASE("A08: ten thousand coroutines sleep at once") {
  const Scene running(scene, {.num_workers = 1, .queue_size = 0});
  std::vector<future<Value>> futures;
  for (int n = 0; n < 10000; ++n)
    futures.push_back(PythonExecutor::async_call("scene", "nap", {0.01, n}));
  for (int n = 0; n < 10000; ++n) CHECK(*futures[static_cast<std::size_t>(n)].get() == Value(n));
}

TEST_CASE("A08: four loops share neither timers nor tasks") {
  const Scene running(scene, {.num_workers = 1, .num_loops = 4});
  std::vector<future<Value>> waiting;  // One for each loop, which has something to do then.
  for (int n = 0; n < 4; ++n)
    waiting.push_back(PythonExecutor::async_call("scene", "wait_for_ever", {std::to_string(n)}));
  Scene::wait_until("len(threads) == 4");
  std::vector<future<Value>> naps;
  for (int n = 0; n < 24 * 4; ++n)
    naps.push_back(PythonExecutor::async_call("scene", "nap", {0.05, n}));
  for (int n = 0; n < 24 * 4; ++n) CHECK(*naps[static_cast<std::size_t>(n)].get() == Value(n));
  for (auto& one : waiting) CHECK(one.cancel());
}

TEST_CASE("A08: coroutines that are asked for at the same time each get a loop of their own") {
  constexpr std::size_t count = 16;
  for (int round = 0; round < 10; ++round) {
    const Scene running(scene, {.num_workers = 1, .num_loops = count});
    std::vector<future<Value>> waiting(count);
    const auto wait = [&waiting](std::size_t n) {
      waiting[n] = PythonExecutor::async_call("scene", "wait_for_ever", {std::to_string(n)});
    };
    wait(0);
    Scene::wait_until("len(threads) == 1");
    std::latch together(count - 1);
    std::vector<std::jthread> callers;
    for (std::size_t n = 1; n < count; ++n) {
      callers.emplace_back([&, n] {
        together.arrive_and_wait();
        wait(n);
      });
    }
    callers.clear();
    Scene::wait_until("len(threads) == " + std::to_string(count));
    for (auto& one : waiting) CHECK(one.cancel());
  }
}

TEST_CASE("A08: an idle loop uses no processor time") {
  const Scene running(scene);
  CHECK(*call("echo", {1}) == Value(1));
  const Duration before = processor_time();
  std::this_thread::sleep_for(5s);
  CHECK(processor_time() - before < 50ms);
}

TEST_CASE(
    "E03: a worker that has met its callers awake uses no processor time when they are gone") {
  const Scene running(scene);
  for (int n = 0; n < 2'000; ++n) CHECK(*PythonExecutor::submit([n] { return n; }).get() == n);
  const Duration before = processor_time();
  std::this_thread::sleep_for(5s);
  CHECK(processor_time() - before < 50ms);
}

TEST_CASE("A08: outcomes come on the loop of C++ that asks for them") {
  const Scene running(scene);
  const SystemClock clock;
  EventLoop loop(clock);
  const auto echo = [](int n) { return PythonExecutor::async_call("scene", "echo", {n}); };
  const auto ask = [echo]() -> Task<std::int64_t> {
    std::int64_t sum = 0;
    for (int n = 0; n < 100; ++n) {
      const Result<Value> got = co_await echo(n);
      CHECK(EventLoop::current() != nullptr);
      if (got.ok()) sum += got->as_int64();
    }
    co_return sum;
  };
  CHECK(run_task(loop, ask()) == 4950);
}

TEST_CASE("A08: a coroutine sees the context variables of the Python code that calls it") {
  const Scene running(scene);
  auto asked = PythonExecutor::submit([]() -> Result<void> {
    const Reference module = Reference::steal(PyImport_ImportModule("scene"));
    const Reference trace = Reference::steal(PyObject_GetAttrString(module.get(), "trace"));
    const Reference value = Reference::steal(PyUnicode_FromString("abc"));
    const Reference token = Reference::steal(PyContextVar_Set(trace.get(), value.get()));
    auto seen = PythonExecutor::async_call("scene", "see_trace").get();
    if (!seen.ok()) return seen.error();
    CHECK(*seen == Value("abc"));
    seen = PythonExecutor::async_call("scene", "see_trace_too").get();
    if (!seen.ok()) return seen.error();
    CHECK(*seen == Value("abc"));
    PyContextVar_Reset(trace.get(), token.get());
    return {};
  });
  const auto done = asked.get();
  CHECK_MESSAGE(done.ok(), text_of(done));
  CHECK(*call("see_trace") == Value("none"));
  CHECK(*call("see_trace_too") == Value("none"));
}

TEST_CASE("A08: context variables go along through a C++ function, on its caller and on a loop") {
  const Scene running(scene);
  const auto ask = [] { return PythonExecutor::async_call("scene", "see_trace"); };
  SystemClock clock;
  EventLoop loop(clock);
  std::thread serving([&] { loop.run(); });
  {
    const auto here = PythonExecutor::register_function("trace_here", ask);
    const auto there =
        PythonExecutor::register_function("trace_there", ask, {.thread = On::loop, .loop = &loop});
    REQUIRE(here.ok());
    REQUIRE(there.ok());
    CHECK(*call("see_trace_through", {"trace_here"}) == Value("abc"));
    CHECK(*call("see_trace_through", {"trace_there"}) == Value("abc"));
    CHECK(*call("see_trace") == Value("none"));
  }
  loop.stop();
  serving.join();
}

TEST_CASE("A08: a cancelled future is settled at once, and the coroutine's finally runs") {
  const Scene running(scene);
  auto waiting = PythonExecutor::async_call("scene", "wait_for_ever", {"one"});
  Scene::wait_until("'one began' in events");
  CHECK(waiting.cancel());
  CHECK_FALSE(waiting.cancel());
  CHECK(code_of(waiting.get()) == Errc::cancelled);
  Scene::wait_until("'one ended' in events");
}

TEST_CASE("A08: a token cancels a coroutine") {
  const Scene running(scene);
  CancellationSource source;
  auto waiting =
      PythonExecutor::async_call("scene", "wait_for_ever", {"one"}, {}, {.token = source.token()});
  Scene::wait_until("'one began' in events");
  source.request_cancellation();
  CHECK(code_of(waiting.get()) == Errc::cancelled);
  Scene::wait_until("'one ended' in events");
  auto late = PythonExecutor::async_call("scene", "echo", {1}, {}, {.token = source.token()});
  CHECK(code_of(late.get()) == Errc::cancelled);
}

TEST_CASE("A08: at its deadline a coroutine is cancelled, also one that holds its loop up") {
  const Scene running(scene);
  auto waiting =
      PythonExecutor::async_call("scene", "wait_for_ever", {"one"}, {}, {.timeout = 20ms});
  CHECK(code_of(waiting.get()) == Errc::timeout);
  Scene::wait_until("'one began' not in events or 'one ended' in events");
  auto computing = PythonExecutor::async_call("scene", "compute", {}, {}, {.timeout = 20ms});
  CHECK(code_of(computing.get()) == Errc::timeout);
  CHECK(*call("echo", {2}) == Value(2));  // The loop is free again, or another was begun.
}

TEST_CASE("A08: a shutdown cancels coroutines, awaits their finally and settles every future") {
  const Scene running(scene);
  std::vector<future<Value>> waiting;
  for (int n = 0; n < 10; ++n)
    waiting.push_back(PythonExecutor::async_call("scene", "wait_for_ever", {std::to_string(n)}));
  auto napping = PythonExecutor::async_call("scene", "nap", {1000});
  Scene::wait_until("len(events) == 10");
  // Those before it wait by now: in a step that goes on they would be interrupted, not cancelled.
  CHECK(*call("echo", {1}) == Value(1));
  REQUIRE(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  for (auto& outcome : waiting) {
    REQUIRE(outcome.is_ready());
    CHECK(code_of(outcome.get()) == Errc::cancelled);
  }
  CHECK(code_of(napping.get()) == Errc::cancelled);
  const Stats stats = PythonExecutor::get_stats();
  CHECK(stats.running + stats.tasks_queued == 0);
  const GILGuard guard;
  const Reference events =
      Reference::steal(PyRun_String("len(__import__('sys').modules['scene'].events)", Py_eval_input,
                                    PyEval_GetBuiltins(), PyEval_GetBuiltins()));
  REQUIRE(events);
  CHECK(PyLong_AsLong(events.get()) == 20);
}

TEST_CASE(
    "A08: a shutdown gives up a coroutine that will not be cancelled, and settles its future") {
  const Scene running(scene);
  auto stubborn = PythonExecutor::async_call("scene", "swallow");
  Scene::wait_until("'swallowing' in events");
  const auto ended = PythonExecutor::shutdown({.drain = 0s, .grace = 200ms});
  CHECK(code_of(ended) == Errc::stuck);
  REQUIRE(stubborn.is_ready());
  CHECK(code_of(stubborn.get()) == Errc::stuck);
}

TEST_CASE("A19: on a loop of asyncio's nothing blocks on a full queue") {
  const Scene running(scene, {.num_workers = 1, .queue_size = 1, .overflow = Overflow::block});
  std::latch begun{1};
  std::latch open{1};
  future<void> busy;
  future<int> waiting;
  const auto submitter = PythonExecutor::register_function("submit_one_too_many", [&]() -> bool {
    busy = PythonExecutor::submit([&] {
      const GILRelease released;
      begun.count_down();
      open.wait();
    });
    begun.wait();
    waiting = PythonExecutor::submit([] { return 1; });
    auto refused = PythonExecutor::submit([] { return 2; });
    open.count_down();
    return refused.is_ready() && code_of(refused.get()) == Errc::unsupported;
  });
  CHECK(*call("call_from_a_coroutine", {"submit_one_too_many"}) == Value(true));
  CHECK(busy.get().ok());
  CHECK(*waiting.get() == 1);
}

TEST_CASE("A08: plain functions run on a worker also while a coroutine holds the loop up") {
  const Scene running(scene);
  auto holding = PythonExecutor::async_call("scene", "hold_loop_up");
  Scene::wait_until("held.is_set()");
  const auto plain = call("plain", {1});
  REQUIRE_MESSAGE(plain.ok(), text_of(plain));
  CHECK(plain->as_array()[1] == *call("let_loop_go"));
  CHECK(*holding.get() == Value(true));
  CHECK(*call("let_loop_go") != *call("thread"));
}

TEST_CASE("A08: a name that turns from a coroutine function into another is called as what it is") {
  const Scene running(scene);
  for (int round = 0; round < 2; ++round) {
    for (int n = 0; n < 3; ++n) CHECK(*call("turncoat") == Value("coroutine"));
    REQUIRE(call("turn", {"def turncoat(): return 'plain'"}).ok());
    for (int n = 0; n < 3; ++n) CHECK(*call("turncoat") == Value("plain"));
    REQUIRE(call("turn", {"async def turncoat(): return 'coroutine'"}).ok());
  }
}

TEST_CASE("A08: a drain lets a coroutine end that no worker had looked up before it") {
  const Scene running(scene);
  std::latch begun{1};
  std::latch open{1};
  auto busy = PythonExecutor::submit([&] {
    const GILRelease released;
    begun.count_down();
    open.wait();
  });
  begun.wait();
  auto late = PythonExecutor::async_call("scene", "first_called_late");
  std::thread ender([] { CHECK(PythonExecutor::shutdown({.drain = patience}).ok()); });
  const Instant last = SystemClock().now() + patience;
  while (PythonExecutor::is_initialized() && SystemClock().now() < last)
    std::this_thread::sleep_for(1ms);
  open.count_down();
  ender.join();
  CHECK(busy.get().ok());
  const auto outcome = late.get();
  REQUIRE_MESSAGE(outcome.ok(), text_of(outcome));
  CHECK(*outcome == Value("done"));
}

TEST_CASE(
    "A08: what is kept of a loop leads nowhere once the loop has ended, in the next life too") {
  std::shared_ptr<LoopLink> kept;
  const auto keep = [&] { kept = CoroutineLoop::current()->link(); };
  {
    const Scene running(scene);
    const auto registered = PythonExecutor::register_function("keep", keep);
    REQUIRE(call("call_from_a_coroutine", {"keep"}).ok());
    std::latch posted(1);
    kept->post([&] { posted.count_down(); });
    posted.wait();
  }
  const std::shared_ptr<LoopLink> old = std::move(kept);
  const Scene next(scene);  // Takes the place of the loop's before.
  const auto registered = PythonExecutor::register_function("keep", keep);
  REQUIRE(call("call_from_a_coroutine", {"keep"}).ok());
  bool was_called = false;
  old->post([&] { was_called = true; });
  std::latch posted(1);
  kept->post([&] { posted.count_down(); });
  posted.wait();
  CHECK_FALSE(was_called);
}

TEST_CASE(
    "A18: a KeyboardInterrupt in a coroutine that computes ends neither its loop nor others") {
  const Scene running(scene, {.num_workers = 1, .keyboard_interrupt = true});
  auto beside = PythonExecutor::async_call("scene", "echo", {1});
  auto computing = PythonExecutor::async_call("scene", "compute", {}, {}, {.timeout = 20ms});
  CHECK(code_of(computing.get()) == Errc::timeout);
  CHECK(*beside.get() == Value(1));
  for (int turn = 0; turn < 100; ++turn)
    REQUIRE(*PythonExecutor::async_call("scene", "echo", {turn}).get() == Value(turn));
}

TEST_CASE("A13: inside a coroutine a wait for what only its own loop can settle is refused") {
  const Scene running(scene);
  future<Value> own;
  const auto waiter = PythonExecutor::register_function("wait_for_own_loop", [&]() -> bool {
    own = PythonExecutor::async_call("scene", "echo", {42});
    const auto refused = own.get();
    const std::string said = text_of(refused);
    return code_of(refused) == Errc::loop_running && said.find("co_await") != std::string::npos &&
           said.find("await unirun.async_call") != std::string::npos && !own.wait_for(patience);
  });
  const auto waited = call("call_from_a_coroutine", {"wait_for_own_loop"});
  REQUIRE_MESSAGE(waited.ok(), text_of(waited));
  CHECK(*waited == Value(true));
  CHECK(*own.get() == Value(42));  // The refusal has taken nothing.
}

TEST_CASE("A13: inside a coroutine nothing waits for a worker either, but what is ready is taken") {
  const Scene running(scene, {.num_workers = 2});
  auto ready = PythonExecutor::async_call("scene", "echo", {1});
  REQUIRE(ready.wait_for(patience));
  std::latch open{1};
  auto busy = PythonExecutor::submit([&] {
    const GILRelease released;
    open.wait();
  });
  const auto waiter = PythonExecutor::register_function("wait_for_a_worker", [&]() -> bool {
    return code_of(busy.get()) == Errc::loop_running && *ready.get() == Value(1) &&
           code_of(PythonExecutor::call("math", "sqrt", {4})) == Errc::loop_running &&
           code_of(PythonExecutor::bind()) == Errc::loop_running;
  });
  const auto waited = call("call_from_a_coroutine", {"wait_for_a_worker"});
  open.count_down();
  REQUIRE_MESSAGE(waited.ok(), text_of(waited));
  CHECK(*waited == Value(true));
  CHECK(busy.get().ok());
}

TEST_CASE("A13: a coroutine that calls what answers late is told to await it, and is served then") {
  const Scene running(scene);
  const SystemClock clock;
  EventLoop loop(clock);
  std::thread elsewhere([&] { loop.run(); });
  const auto late = PythonExecutor::register_function("answer_late", [] {
    return PythonExecutor::async_call("scene", "nap", {0.001, "late"});
  });
  const auto there = PythonExecutor::register_function("answer_there", [] { return 7; },
                                                       {.thread = On::loop, .loop = &loop});
  for (const char* const name : {"answer_late", "answer_there"}) {
    const auto refused = call("call_from_a_coroutine", {name});
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().type == "builtins.RuntimeError");
    CHECK(refused.error().message.find("await unirun.async_call(\"" + std::string(name)) !=
          std::string::npos);
  }
  CHECK(*call("await_in_a_coroutine", {"answer_late"}) == Value("late"));
  CHECK(*call("await_in_a_coroutine", {"answer_there"}) == Value(7));
  loop.post([&] { loop.stop(); });
  elsewhere.join();
}

TEST_CASE("A08: a million calls leave nothing behind, and the numbers add up") {
  const Scene running(scene, {.num_workers = 1, .queue_size = 0});
  constexpr int rounds = 100;
  constexpr int calls = 10000;
  for (int round = 0; round < rounds; ++round) {
    std::vector<future<Value>> futures;
    futures.reserve(calls);
    for (int n = 0; n < calls; ++n)
      futures.push_back(PythonExecutor::async_call("scene", "echo", {n}));
    for (auto& outcome : futures) REQUIRE(outcome.get().ok());
  }
  const Stats stats = PythonExecutor::get_stats();
  CHECK(stats.tasks_executed >= std::uint64_t{rounds} * calls);
  CHECK(stats.submitted == stats.tasks_executed + stats.tasks_failed + stats.cancelled +
                               stats.timed_out + stats.rejected + stats.running +
                               stats.tasks_queued);
  CHECK(*call("is_alone") == Value(true));
}

}  // namespace unirun::python
