// E15: a Python without a GIL. A program of its own, since the first start decides.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <vector>

#include "framework/clock.h"
#include "tests/python_executor/executor_fixture.h"

namespace unirun::python {
namespace {

#ifdef Py_GIL_DISABLED

// Says that it is here and waits for the other, attached to Python all the while.
bool meet(std::atomic<int>& here) {
  const SystemClock clock;
  const Instant deadline = clock.now() + patience;
  here.fetch_add(1);
  while (here.load() < 2 && clock.now() < deadline) {
  }
  return here.load() == 2;
}

std::vector<CallSpec> factorials() {
  std::vector<CallSpec> calls;
  for (int n = 0; n < 20; ++n) calls.push_back({"math", "factorial", {n}});
  return calls;
}

TEST_CASE("E15: a Python that can go without a GIL does so for who asks for it outright") {
  const Running running({.num_workers = 2, .mode = ExecutionMode::free_threaded});
  const ModeReport report = PythonExecutor::execution_mode();
  CHECK(report.mode == ExecutionMode::free_threaded);
  CHECK_FALSE(report.gil_enabled);
  CHECK(report.reason.find("the GIL is off") != std::string::npos);

  std::atomic<int> here{0};
  auto one = PythonExecutor::submit([&] { return meet(here); });
  auto other = PythonExecutor::submit([&] { return meet(here); });
  CHECK(*one.get());
  CHECK(*other.get());

  // Both workers look the same things up for the first time.
  const auto outcomes = PythonExecutor::parallel(factorials(), {.timeout = patience}).get();
  REQUIRE(outcomes.ok());
  for (const auto& outcome : *outcomes) CHECK(outcome.ok());
  CHECK(*(*outcomes)[5] == Value(120));
}

TEST_CASE("E18: without a GIL what is interrupted ends, and the next task is not struck") {
  const Running running({.num_workers = 2, .mode = ExecutionMode::free_threaded});
  auto context = PythonExecutor::bind({.name = "loops"});
  REQUIRE(context.ok());
  for (int round = 0; round < 100; ++round) {
    const auto stopped = context->exec("while True: pass", {.timeout = 5ms});
    REQUIRE_FALSE(stopped.ok());
    CHECK(stopped.error().code == Errc::timeout);
    const auto next = context->eval("sum(range(1000))");
    REQUIRE_MESSAGE(next.ok(), (next.ok() ? "" : next.error().message));
    CHECK(*next == Value(499500));
  }
}

#else

TEST_CASE("E15: a Python that cannot go without a GIL refuses to, and starts otherwise") {
  const auto refused = PythonExecutor::start({.mode = ExecutionMode::free_threaded});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::unsupported);
  CHECK(refused.error().message.find("the GIL is on") != std::string::npos);
  const Running running;
  CHECK(PythonExecutor::execution_mode().gil_enabled);
}

#endif

}  // namespace
}  // namespace unirun::python
