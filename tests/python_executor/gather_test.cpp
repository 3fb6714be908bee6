// E09: many calls at once.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <latch>
#include <thread>
#include <vector>

#include "framework/clock.h"
#include "tests/python_executor/async_scene.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

constexpr const char* scene = R"(
import asyncio, time

begun = ended = most = 0

async def echo(value): return value
async def fail(): raise ValueError("as asked")
def plain(value): return value
def compute():
    global begun, ended
    try:
        # No loop first: 3.11 takes what is raised at its jump back for raised before the try.
        begun += 1
        while True: time.monotonic()
    finally:
        ended += 1
async def wait_for_ever():
    global begun, ended, most
    try:
        begun += 1
        most = max(most, begun - ended)
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0)
        ended += 1
async def swallow():
    global begun
    begun += 1
    while True:
        try: await asyncio.sleep(1000)
        except asyncio.CancelledError: pass
def stay():
    import unirun
    unirun.call("stay")
async def nap():
    global begun, ended, most
    begun += 1
    most = max(most, begun - ended)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ended += 1
)";

CallSpec to(const char* function, Args args = {}) { return {"scene", function, std::move(args)}; }

}  // namespace

TEST_CASE("A09: every outcome comes, in the order of the calls") {
  const Scene running(scene);
  std::vector<CallSpec> calls;
  for (int n = 0; n < 100; ++n)
    calls.push_back(n == 50 ? to("fail") : to(n % 2 == 0 ? "echo" : "plain", {n}));
  const auto outcomes = PythonExecutor::gather(calls).get();
  REQUIRE_MESSAGE(outcomes.ok(), text_of(outcomes));
  REQUIRE(outcomes->size() == 100);
  for (int n = 0; n < 100; ++n) {
    const auto& one = (*outcomes)[static_cast<std::size_t>(n)];
    if (n == 50) {
      CHECK(code_of(one) == Errc::python_exception);
    } else {
      REQUIRE_MESSAGE(one.ok(), text_of(one));
      CHECK(*one == Value(n));
    }
  }
}

TEST_CASE("A09: of nothing comes nothing") {
  const Scene running(scene);
  const auto outcomes = PythonExecutor::gather({}).get();
  REQUIRE(outcomes.ok());
  CHECK(outcomes->empty());
}

TEST_CASE("A09: at the deadline the rest is cancelled and awaited: every finally has run") {
  const Scene running(scene);
  std::vector<CallSpec> calls(100, to("wait_for_ever"));
  calls.push_back(to("echo", {1}));
  const auto outcomes = PythonExecutor::gather(calls, {.timeout = 200ms}).get();
  REQUIRE_MESSAGE(outcomes.ok(), text_of(outcomes));
  for (std::size_t n = 0; n < 100; ++n) CHECK(code_of((*outcomes)[n]) == Errc::timeout);
  CHECK(Scene::value_of("ended == begun") == Value(true));
}

TEST_CASE("A09: a plain function is interrupted at the deadline, and has ended then") {
  const Scene running(scene);
  const std::vector<CallSpec> calls{to("compute"), to("compute")};
  const auto outcomes = PythonExecutor::gather(calls, {.timeout = 50ms}).get();
  REQUIRE_MESSAGE(outcomes.ok(), text_of(outcomes));
  for (const auto& one : *outcomes) CHECK(code_of(one) == Errc::timeout);
  CHECK(Scene::value_of("ended == begun") == Value(true));
}

TEST_CASE("A09: what goes on after it was told to end is stuck, and the rest comes without it") {
  std::latch open{1};
  const auto stay = PythonExecutor::register_function("stay", [&] { open.wait(); });
  {
    const Scene running(scene);
    // The only worker looks up what each is before a loop has it: whoever keeps it comes last.
    const std::vector<CallSpec> calls{to("swallow"), to("echo", {1}), to("wait_for_ever"),
                                      to("stay")};
    auto gathered = PythonExecutor::gather(calls, {.timeout = 1s});
    REQUIRE(gathered.wait_for(patience));
    const auto outcomes = gathered.get();
    REQUIRE_MESSAGE(outcomes.ok(), text_of(outcomes));
    CHECK(code_of((*outcomes)[0]) == Errc::stuck);
    CHECK(code_of((*outcomes)[1]) == Errc::ok);
    CHECK(code_of((*outcomes)[2]) == Errc::timeout);
    CHECK(code_of((*outcomes)[3]) == Errc::stuck);
    CHECK(text_of((*outcomes)[0]).find("gather() had a timeout of") != std::string::npos);
    // Its worker was given up, and another serves.
    CHECK(Scene::value_of("begun") == Value(2));
    CHECK(PythonExecutor::get_stats().stuck == 1);
    open.count_down();
  }
}

TEST_CASE("A09: with fail_fast the first error cancels the rest") {
  const Scene running(scene);
  std::vector<CallSpec> calls(20, to("wait_for_ever"));
  calls.push_back(to("fail"));
  const auto outcomes = PythonExecutor::gather(calls, {.fail_fast = true}).get();
  REQUIRE_MESSAGE(outcomes.ok(), text_of(outcomes));
  for (std::size_t n = 0; n < 20; ++n) CHECK(code_of((*outcomes)[n]) == Errc::cancelled);
  CHECK(code_of((*outcomes)[20]) == Errc::python_exception);
  CHECK(Scene::value_of("ended == begun") == Value(true));
}

TEST_CASE("A09: never more at once than the limit says") {
  const Scene running(scene);
  const std::vector<CallSpec> calls(200, to("nap"));
  const auto outcomes = PythonExecutor::gather(calls, {.limit = 7}).get();
  REQUIRE_MESSAGE(outcomes.ok(), text_of(outcomes));
  for (const auto& one : *outcomes) CHECK_MESSAGE(one.ok(), text_of(one));
  CHECK(Scene::value_of("ended") == Value(200));
  CHECK(Scene::value_of("most <= 7") == Value(true));
}

TEST_CASE("A09: a timeout of nothing starts nothing, and wrong names are outcomes like others") {
  const Scene running(scene);
  const std::vector<CallSpec> calls{to("echo", {1}), {"scene", "a b"}, {"no_such_module", "f"}};
  auto late = PythonExecutor::gather(calls, {.timeout = 0s}).get();
  REQUIRE(late.ok());
  for (const auto& one : *late) CHECK(code_of(one) == Errc::timeout);
  auto outcomes = PythonExecutor::gather(calls, {.limit = 1}).get();
  REQUIRE(outcomes.ok());
  CHECK(code_of((*outcomes)[0]) == Errc::ok);
  CHECK(code_of((*outcomes)[1]) == Errc::import_failed);
  CHECK(code_of((*outcomes)[2]) == Errc::import_failed);
}

TEST_CASE("A09: who cancels the whole cancels its calls") {
  const Scene running(scene);
  const std::vector<CallSpec> calls(10, to("wait_for_ever"));
  auto gathered = PythonExecutor::gather(calls);
  const Instant last = SystemClock().now() + patience;
  while (Scene::value_of("begun") != Value(10)) REQUIRE(SystemClock().now() < last);
  CHECK(gathered.cancel());
  CHECK(code_of(gathered.get()) == Errc::cancelled);
  while (Scene::value_of("ended") != Value(10)) REQUIRE(SystemClock().now() < last);
}

TEST_CASE("A09: without an executor each call says so") {
  const std::vector<CallSpec> calls(3, to("echo", {1}));
  const auto outcomes = PythonExecutor::gather(calls, {.limit = 1}).get();
  REQUIRE(outcomes.ok());
  for (const auto& one : *outcomes) CHECK(code_of(one) == Errc::not_initialized);
}

}  // namespace unirun::python
