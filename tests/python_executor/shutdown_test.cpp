// E01: the end of an executor, beside threads that go on asking, and with code that takes its time.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <coroutine>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/async_scene.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

constexpr const char* scene = R"(
import asyncio, threading, time

events = []

# Pure Python for longer than the executor needs to look again.
def take_time(what):
    begun = time.monotonic()
    while time.monotonic() - begun < 0.3: pass
    events.append(what)
def compute(what):
    try:
        events.append("begun")
        while True: time.monotonic()
    finally:
        take_time(what)
async def wait(what):
    try:
        events.append("begun")
        await asyncio.sleep(1000)
    finally:
        take_time(what)
async def wait_slowly(what):
    try:
        events.append("begun")
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0.3)
        events.append(what)
async def hold_up(what):
    try:
        events.append("begun")
        while True: time.monotonic()
    finally:
        take_time(what)
def make(what):
    try:
        yield 1
        events.append("begun")
        while True: time.monotonic()
    finally:
        take_time(what)
def make_many():
    try:
        for n in range(1 << 60):
            if n == 3: events.append("begun")
            yield n
    finally:
        events.append("closed")
async def make_later(what):
    try:
        yield 1
        events.append("begun")
        await asyncio.sleep(1000)
    finally:
        take_time(what)
def swallow_once():
    try:
        events.append("begun")
        while True: time.monotonic()
    except BaseException: pass
    while True: time.monotonic()
)";

void wait_until_begun(int count = 1) {
  Scene::wait_until("events.count('begun') == " + std::to_string(count));
}

// After the end of the executor.
bool has_happened(const char* what) {
  const GILGuard guard;
  const std::string asked =
      "'" + std::string(what) + "' in __import__('sys').modules['scene'].events";
  const Reference answer = Reference::steal(
      PyRun_String(asked.c_str(), Py_eval_input, PyEval_GetBuiltins(), PyEval_GetBuiltins()));
  return answer && PyObject_IsTrue(answer.get()) == 1;
}

// Submits as long as it lives, whatever becomes of it.
class Submitters {
 public:
  explicit Submitters(int count) {
    for (int n = 0; n < count; ++n) threads_.emplace_back([this] { live(); });
  }
  ~Submitters() {
    is_over_ = true;
    for (auto& thread : threads_) thread.join();
  }

 private:
  void live() {
    while (!is_over_) static_cast<void>(PythonExecutor::submit([] { return 1; }));
  }

  std::atomic<bool> is_over_{false};
  std::vector<std::thread> threads_;
};

// Goes on on the thread that settles what it awaits.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};

Detached shut_down_after(future<void> awaited, int& said, std::latch& over) {
  static_cast<void>(co_await std::move(awaited));
  said = PythonExecutor::shutdown();
  over.count_down();
}

}  // namespace

TEST_CASE("E01: a shutdown ends when all that was accepted is done, though others go on asking") {
  for (const std::uint32_t queue_size : {0U, 10U}) {
    const Running running({.num_workers = 2, .queue_size = queue_size});
    const Submitters submitters(3);
    // Its drain is longer than the test may take.
    REQUIRE(PythonExecutor::shutdown({.drain = 3600s}).ok());
    const Stats stats = PythonExecutor::get_stats();
    CHECK(stats.tasks_queued + stats.running == 0);
    CHECK(stats.submitted == stats.tasks_executed + stats.rejected);
  }
}

TEST_CASE("E01: who waits for a place when the executor ends is sent away, and ends with it") {
  const Running running({.num_workers = 1, .queue_size = 1, .overflow = Overflow::block});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  auto second = PythonExecutor::submit([] { return 2; });
  std::vector<std::thread> blocked;
  std::atomic<int> refused{0};
  for (int n = 0; n < 4; ++n) {
    blocked.emplace_back([&] {
      auto third = PythonExecutor::submit([] { return 3; });
      if (code_of(third) == Errc::not_initialized) ++refused;
    });
  }
  while (PythonExecutor::get_stats().tasks_queued < 5) std::this_thread::yield();
  std::thread ending([] { CHECK(PythonExecutor::shutdown({.drain = 3600s}).ok()); });
  for (auto& thread : blocked) thread.join();
  gate.let_go();
  ending.join();
  CHECK(refused == 4);
  CHECK(*second.get() == 2);
}

TEST_CASE("E01: what follows a task that was accepted still runs while the executor drains") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  auto chained =
      PythonExecutor::submit([] { return PyLong_FromLong(40); })
          .then([](PyObject* value) { return PyLong_FromLong(PyLong_AsLong(value) + 1); })
          .then([](PyObject* value) { return PyLong_AsLong(value) + 1; })
          .then([](long value) { return value * 10; });
  std::thread ending([] { CHECK(PythonExecutor::shutdown({.drain = 3600s}).ok()); });
  while (PythonExecutor::is_initialized()) std::this_thread::yield();
  gate.let_go();
  ending.join();
  REQUIRE(chained.is_ready());
  const auto result = chained.get();
  REQUIRE_MESSAGE(result.ok(), text_of(result));
  CHECK(*result == 420);
}

TEST_CASE("E01: what follows a task that the end has cancelled is told why, to the last future") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  bool called = false;
  const SystemClock clock;
  EventLoop loop(clock);
  auto object = PythonExecutor::submit([] {
                  return PyLong_FromLong(1);
                }).then([&](PyObject*) {
                    return called = true;
                  }).then([&](bool) { return called = true; });
  auto plain = PythonExecutor::submit([] { return 1; }).then([&](int) { return called = true; });
  auto on_loop =
      PythonExecutor::submit([] { return 1; }).then_on(loop, [&](int) { return called = true; });
  std::thread ending(
      [] { CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok()); });
  CHECK(code_of(object) == Errc::cancelled);
  CHECK(code_of(plain) == Errc::cancelled);
  gate.let_go();
  ending.join();
  loop.run_ready();
  REQUIRE(on_loop.is_ready());
  CHECK(code_of(on_loop) == Errc::cancelled);
  CHECK_FALSE(called);
}

TEST_CASE(
    "E01: a shutdown on the thread that tells of a deadline is refused: it would join itself") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  int said = 0;
  std::latch over{1};
  shut_down_after(PythonExecutor::submit([] {}, {.timeout = 1ms}), said, over);
  over.wait();
  CHECK(said == static_cast<int>(Errc::unsupported));
  CHECK(PythonExecutor::is_initialized());
  gate.let_go();
}

TEST_CASE("E04: what follows on a loop that has ended before it ran is told so") {
  const Running running({.num_workers = 1});
  future<int> chained;
  {
    const SystemClock clock;
    EventLoop loop(clock);
    auto first = PythonExecutor::submit([] { return 1; });
    REQUIRE(first.wait_for(patience));
    chained =
        first.then_on(loop, [](int value) { return value; }).then([](int value) { return value; });
    CHECK_FALSE(chained.is_ready());
  }
  REQUIRE(chained.is_ready());
  CHECK(code_of(chained) == Errc::loop_stopped);
}

TEST_CASE("E01: a finally of Python's has the grace to its end, in tasks and in coroutines") {
  for (const char* const function : {"compute", "wait", "wait_slowly", "hold_up"}) {
    CAPTURE(function);
    const Scene running(scene, {.num_workers = 2});
    auto outcome = PythonExecutor::async_call("scene", function, {"ended"});
    wait_until_begun();
    CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
    CHECK(has_happened("ended"));
    CHECK_FALSE(outcome.get().ok());
  }
}

TEST_CASE("E01: so has one of a context's task or coroutine") {
  for (const char* const function : {"compute", "wait", "wait_slowly", "hold_up"}) {
    CAPTURE(function);
    const Scene running(scene, {.num_workers = 2});
    const auto context = PythonExecutor::bind();
    REQUIRE(context.ok());
    auto outcome =
        PythonExecutor::async_call("scene", function, {"ended"}, {}, {.context = context->id()});
    wait_until_begun();
    CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
    CHECK(has_happened("ended"));
    CHECK_FALSE(outcome.get().ok());
  }
}

TEST_CASE("E01: so has one of gather()") {
  const Scene running(scene, {.num_workers = 2});
  const std::array calls{CallSpec{"scene", "wait", {"one"}}, CallSpec{"scene", "wait", {"two"}},
                         CallSpec{"scene", "compute", {"three"}}};
  auto gathered = PythonExecutor::gather(calls);
  wait_until_begun(3);
  CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  for (const char* const one : {"one", "two", "three"}) CHECK(has_happened(one));
  const auto outcomes = gathered.get();
  REQUIRE(outcomes.ok());
  for (const auto& outcome : *outcomes) CHECK_FALSE(outcome.ok());
}

TEST_CASE("E01: so has one of a generator, asynchronous or not") {
  for (const char* const function : {"make", "make_later"}) {
    CAPTURE(function);
    const Scene running(scene, {.num_workers = 2});
    Stream stream = PythonExecutor::stream("scene", function, {"ended"});
    wait_until_begun();
    CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
    CHECK(has_happened("ended"));
  }
}

TEST_CASE(
    "E01: a generator that waits for its reader is closed, and what it has made can be read") {
  const Scene running(scene, {.num_workers = 2});
  Stream stream = PythonExecutor::stream("scene", "make_many", {}, {}, {.window = 4});
  wait_until_begun();
  REQUIRE(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  CHECK(has_happened("closed"));
  const SystemClock clock;
  EventLoop loop(clock);
  std::vector<Errc> read;
  const auto read_all = [&]() -> Task<void> {
    while (auto item = co_await stream.next()) read.push_back(code_of(*item));
  };
  run_task(loop, read_all());
  CHECK(read == std::vector{Errc::ok, Errc::ok, Errc::ok, Errc::ok, Errc::cancelled});
}

TEST_CASE("E01: code that has swallowed its interruption is interrupted again after the grace") {
  const Scene running(scene, {.num_workers = 2});
  auto outcome = PythonExecutor::async_call("scene", "swallow_once");
  wait_until_begun();
  CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = 100ms}).ok());
  CHECK_FALSE(outcome.get().ok());
}

TEST_CASE("E01: who waits beneath code that is stuck is told so at the end, too") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto beneath = PythonExecutor::submit([&] {
    auto inner = PythonExecutor::submit(gate.task());
    return inner.get().ok();
  });
  gate.wait_until_running();
  const auto ended = PythonExecutor::shutdown({.drain = 0s, .grace = 50ms});
  CHECK(code_of(ended) == Errc::stuck);
  REQUIRE(beneath.is_ready());
  CHECK(code_of(beneath) == Errc::stuck);
  gate.let_go();
}

TEST_CASE("E05: who waits beneath code whose worker was given up is told so") {
  const Running running({.num_workers = 1});
  Gated gate;
  const auto inner = std::make_shared<future<void>>();  // Its waiter outlives this test.
  std::latch submitted{1};
  auto beneath = PythonExecutor::submit([inner, &gate, &submitted] {
    *inner = PythonExecutor::submit(gate.task());
    submitted.count_down();
    return inner->wait_for(patience);
  });
  submitted.wait();
  gate.wait_until_running();
  CHECK(inner->cancel());
  REQUIRE(beneath.wait_for(patience));
  CHECK(code_of(beneath) == Errc::worker_lost);
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
  gate.let_go();
}

}  // namespace unirun::python
