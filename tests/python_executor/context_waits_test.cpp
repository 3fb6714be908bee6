// E07, E08 and E13: who waits for coroutines of contexts, and what they may wait for: whatever the
// state of both, the wait ends.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <array>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "tests/python_executor/async_scene.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

constexpr const char* scene = R"(
events = []
)";

constexpr const char* names = R"(
import asyncio, scene, threading, unirun
gates = {}
threads = []
async def nap(value=None):
    threads.append(threading.get_native_id())
    await asyncio.sleep(0.001)
    return value
async def wait(name):
    gates[name] = asyncio.Event()
    try:
        scene.events.append(name + " began")
        await gates[name].wait()
    finally:
        await asyncio.sleep(0)
        scene.events.append(name + " ended")
    return name
def open(name): gates[name].set()
def plain(value=None): return value
def deeper(levels, name, given):
    if levels: return unirun.call("deeper", levels - 1, name, given)
    return [threading.get_native_id(), unirun.call(name, *given)]
def ask(name, *given): return unirun.call(name, *given)
async def ask_inside(name, *given): return unirun.call(name, *given)
async def ask_later(name, *given): return await unirun.async_call(name, *given)
def ask_in_a_loop(name, *given):
    async def main():
        await asyncio.sleep(0)
        try: return unirun.call(name, *given)
        finally: await asyncio.sleep(0.001)
    return asyncio.run(main())
async def swallow():
    scene.events.append("swallows")
    while True:
        try: await asyncio.Event().wait()
        except asyncio.CancelledError: scene.events.append("swallowed")
async def end_never():
    try:
        scene.events.append("begins")
        await asyncio.Event().wait()
    finally:
        scene.events.append("computes")
        while True: pass
async def leave_behind():
    async def left(): unirun.call("stay")
    asyncio.create_task(left())
)";

Context bound() {
  auto context = PythonExecutor::bind({.preload = names});
  REQUIRE_MESSAGE(context.ok(), text_of(context));
  return *std::move(context);
}

future<Value> go(ContextId context, const char* function, Args args = {},
                 CallOptions options = {}) {
  options.context = context;
  return PythonExecutor::async_call("__main__", function, std::move(args), {}, options);
}

future<Value> go(const Context& context, const char* function, Args args = {},
                 CallOptions options = {}) {
  return go(context.id(), function, std::move(args), std::move(options));
}

// What would wait for ever fails here.
Result<Value> end_of(future<Value> outcome) {
  REQUIRE(outcome.wait_for(patience));
  return outcome.get();
}

// Until a coroutine has said so.
void await_event(const std::string& event) { Scene::wait_until("'" + event + "' in events"); }

// C++ functions for the Python code of two contexts, which they name by 0 and 1.
class Callbacks {
 public:
  explicit Callbacks(const Context& one) : Callbacks(one, one) {}
  Callbacks(const Context& one, const Context& other) : contexts_{one.id(), other.id()} {}

 private:
  [[nodiscard]] ContextId at(int which) const {
    return contexts_.at(static_cast<std::size_t>(which));
  }

  const std::array<ContextId, 2> contexts_;
  // Waits for it here; what gives a future is waited for by whoever calls, or awaited.
  const Registration wait_ = PythonExecutor::register_function(
      "wait_for", [this](int which, const std::string& function, const std::string& argument) {
        return go(at(which), function.c_str(), {argument}).get();
      });
  const Registration later_ = PythonExecutor::register_function(
      "later", [this](int which, const std::string& function, const Array& given) {
        return go(at(which), function.c_str(), given);
      });
  const Registration call_ = PythonExecutor::register_function(
      "call", [this](int which, const std::string& function, const Array& given) {
        return PythonExecutor::call("__main__", function, given, {}, {.context = at(which)});
      });
  // By way of C++ and back, so often.
  const Registration deeper_ = PythonExecutor::register_function(
      "deeper", [this](int levels, const std::string& name, const Array& given) {
        return PythonExecutor::call("__main__", "deeper", {levels, name, given}, {},
                                    {.context = at(0)});
      });
};

constexpr int beyond_one_stack = 1500;

}  // namespace

TEST_CASE("A13: deep in callbacks, on a thread that stands in, a context waits for its coroutine") {
  const Scene running(scene);
  Context context = bound();
  const Callbacks callbacks(context);
  auto before = go(context, "wait", {"before"});
  const auto outcome =
      end_of(go(context, "deeper", {beyond_one_stack, "wait_for", Array{0, "nap", "waited"}}));
  REQUIRE_MESSAGE(outcome.ok(), text_of(outcome));
  const Array& told = outcome->as_array();
  CHECK(told.at(0) != Value(context.thread_id()));
  CHECK(told.at(1) == Value("waited"));
  // What has begun before, or there, goes on.
  CHECK_FALSE(before.is_ready());
  CHECK(context.call("__main__", "open", {"before"}).ok());
  CHECK(*end_of(std::move(before)) == Value("before"));
  CHECK(*end_of(go(context, "nap", {"after"})) == Value("after"));
}

TEST_CASE("A13: what waits there for a coroutine ends with it when its context is closed") {
  const Scene running(scene);
  Context context = bound();
  const Callbacks callbacks(context);
  auto waiting = go(context, "deeper", {beyond_one_stack, "wait_for", Array{0, "wait", "a"}});
  while (PythonExecutor::get_stats().running < 2) std::this_thread::sleep_for(1ms);
  SUBCASE("alone") { CHECK(context.close().ok()); }
  SUBCASE("with all others") {
    CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  }
  const auto outcome = end_of(std::move(waiting));
  REQUIRE_FALSE(outcome.ok());
  CHECK(outcome.error().message.find("cancelled") != std::string::npos);
}

TEST_CASE("A13: a context waits for its coroutine also inside a loop of asyncio's of its own") {
  const Scene running(scene);
  Context context = bound();
  const Callbacks callbacks(context);
  auto before = go(context, "wait", {"before"});
  const auto outcome = end_of(go(context, "ask_in_a_loop", {"wait_for", 0, "nap", "waited"}));
  REQUIRE_MESSAGE(outcome.ok(), text_of(outcome));
  CHECK(*outcome == Value("waited"));
  CHECK(context.call("__main__", "open", {"before"}).ok());
  CHECK(*end_of(std::move(before)) == Value("before"));
}

TEST_CASE("A13: contexts whose code waits for each other's coroutines, which await its own, end") {
  for (const std::uint32_t workers : {1U, 2U}) {
    const Scene running(scene, {.num_workers = workers});
    Context one = bound();
    Context other = bound();
    const Callbacks callbacks(one, other);
    // A plain function of one > a coroutine of the other > this of one, awaited.
    for (const char* const last : {"nap", "plain"}) {
      auto round = go(one, "ask", {"later", 1, "ask_later", Array{"later", 0, last, Array{"end"}}});
      const auto outcome = end_of(std::move(round));
      REQUIRE_MESSAGE(outcome.ok(), text_of(outcome));
      CHECK(*outcome == Value("end"));
    }
  }
}

TEST_CASE("A13: inside a coroutine of a context all that would wait is refused, and says so") {
  const Scene running(scene, {.num_workers = 2});
  Context one = bound();
  Context other = bound();
  const Callbacks callbacks(one, other);
  const auto bind = PythonExecutor::register_function("bind", [] {
    const auto context = PythonExecutor::bind();
    return context.ok() ? Result<void>() : context.error();
  });
  const auto shutdown =
      PythonExecutor::register_function("shutdown", [] { return PythonExecutor::shutdown({}); });
  const auto eval = PythonExecutor::register_function("eval", [&] { return one.eval("1"); });
  const auto close = PythonExecutor::register_function("close", [&] { return other.close(); });
  const auto refused = [&](Args args) {
    const auto outcome = end_of(go(one, "ask_inside", std::move(args)));
    return outcome.ok() ? "" : outcome.error().message;
  };
  for (const int which : {0, 1}) {
    const std::array<Args, 3> waits{Args{"wait_for", which, "wait", "x"},
                                    Args{"later", which, "wait", Array{"x"}},
                                    Args{"call", which, "plain", Array{"x"}}};
    for (const Args& wait : waits)
      CHECK(refused(wait).find("await unirun.async_call") != std::string::npos);
  }
  CHECK(refused({"bind"}).find("bind() would hold up") != std::string::npos);
  CHECK(refused({"eval"}).find("eval() would hold up") != std::string::npos);
  CHECK(refused({"shutdown"}).find("call it elsewhere") != std::string::npos);
  CHECK(refused({"close"}).empty());  // It ends on its own.
  CHECK(code_of(end_of(go(other, "nap"))) == Errc::unsupported);
}

TEST_CASE("A05: cancelled code that waits for a coroutine without an end loses its worker") {
  const Scene running(scene, {.num_workers = 2});
  Context context = bound();
  const Callbacks callbacks(context);
  auto waiting = go(context, "ask", {"wait_for", 0, "wait", "a"});
  await_event("a began");
  CHECK(waiting.cancel());
  CHECK(code_of(end_of(std::move(waiting))) == Errc::cancelled);
  while (PythonExecutor::get_stats().stuck == 0) std::this_thread::sleep_for(1ms);
  CHECK(code_of(context.close()) == Errc::worker_lost);
  Context next = bound();
  CHECK(*end_of(go(next, "nap", {"well"})) == Value("well"));
}

TEST_CASE("A07: a context is closed though a coroutine of it swallows its cancellation") {
  const Scene running(scene);
  Context context = bound();
  Context other = bound();
  auto stubborn = go(context, "swallow");
  auto cancelled = go(context, "swallow");
  auto innocent = go(other, "wait", {"innocent"});
  await_event("innocent began");
  CHECK(cancelled.cancel());
  const auto closed = context.close();
  CHECK(code_of(closed) == Errc::stuck);
  CHECK(text_of(closed).find("2 of its coroutines") != std::string::npos);
  CHECK(code_of(end_of(std::move(stubborn))) == Errc::stuck);
  CHECK_FALSE(innocent.is_ready());
  CHECK(other.call("__main__", "open", {"innocent"}).ok());
  CHECK(*end_of(std::move(innocent)) == Value("innocent"));
  CHECK(PythonExecutor::shutdown({.drain = patience}).ok());
}

TEST_CASE("A08: a coroutine's finally that computes for ever is interrupted when it was to end") {
  const Scene running(scene);
  Context context = bound();
  SUBCASE("at its deadline") {
    until_begun_in_time([&](Duration timeout) {
      auto late = go(context, "end_never", {}, {.timeout = timeout});
      CHECK(code_of(end_of(std::move(late))) == Errc::timeout);
      return Scene::value_of("'begins' in events") == Value(true);
    });
  }
  SUBCASE("by its future") {
    auto cancelled = go(context, "end_never");
    await_event("begins");
    CHECK(cancelled.cancel());
  }
  SUBCASE("by the end of its context") {
    auto waiting = go(context, "end_never");
    await_event("begins");
    CHECK(context.close().ok());
    CHECK_FALSE(end_of(std::move(waiting)).ok());
  }
  await_event("computes");  // Its worker has come back.
}

TEST_CASE("A08: a shutdown does not wait for ever for what a coroutine has left behind") {
  std::latch began{1};
  std::latch released{1};
  const auto stay = PythonExecutor::register_function("stay", [&] {
    began.count_down();
    released.wait();
  });
  const Scene running(scene);
  Context context = bound();
  CHECK(end_of(go(context, "leave_behind")).ok());
  began.wait();
  CHECK(code_of(PythonExecutor::shutdown({.grace = 50ms})) == Errc::stuck);
  released.count_down();
}

}  // namespace unirun::python
