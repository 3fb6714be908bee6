// E04: SystemExit is an outcome like another, wherever Python code raises it; what ends the process
// is exit() of C++ alone (see finalization_test.cpp), and os._exit().

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <optional>
#include <string>

#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/async_scene.h"
#include "tests/python_executor/module_folder.h"

namespace unirun::python {
namespace {

constexpr const char* scene = R"(
import asyncio, sys, unirun

def leave(): sys.exit(3)
async def leave_at_once(): sys.exit(3)
async def leave_later():
    await asyncio.sleep(0)
    raise SystemExit(3)
async def leave_by_a_task(): await asyncio.create_task(leave_later())
async def leave_by_gather(): await asyncio.gather(leave_later())
def make():
    yield 1
    sys.exit(3)
async def make_later():
    yield 1
    await asyncio.sleep(0)
    sys.exit(3)
def leave_by_callback(): unirun.call("leave_there")
async def leave_by_awaited_callback(): await unirun.async_call("leave_there")
async def leave_in_call_soon():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    loop.call_soon(sys.exit, 3)
    await asyncio.sleep(0.001)
    return "goes on"
async def leave_in_finally():
    try: await asyncio.sleep(1000)
    finally: sys.exit(3)
def echo(value): return value
)";

void check_exit(const Error& error) {
  CHECK(error.code == Errc::python_exception);
  CHECK(error.type.find("SystemExit") != std::string::npos);
  CHECK(error.message.starts_with("3"));  // Its notes may follow.
}

template <class T>
void check_exit(const Result<T>& result) {
  REQUIRE_FALSE(result.ok());
  check_exit(result.error());
}

Task<std::optional<Error>> error_of(Stream& stream) {
  while (auto item = co_await stream.next()) {
    if (!item->ok()) co_return item->error();
  }
  co_return std::nullopt;
}

}  // namespace

TEST_CASE("E04: SystemExit in a task, a coroutine or a callback is its error, and all goes on") {
  const Scene running(scene, {.num_workers = 2});
  const auto there = PythonExecutor::register_function(
      "leave_there", [] { return PythonExecutor::async_call("scene", "leave"); });
  check_exit(PythonExecutor::call("scene", "leave"));
  for (const char* const function :
       {"leave", "leave_at_once", "leave_later", "leave_by_a_task", "leave_by_gather",
        "leave_by_callback", "leave_by_awaited_callback"}) {
    CAPTURE(function);
    check_exit(PythonExecutor::async_call("scene", function).get());
    CHECK(*PythonExecutor::async_call("scene", "echo", {1}).get() == Value(1));
  }
  CHECK(*PythonExecutor::async_call("scene", "leave_in_call_soon").get() == Value("goes on"));
}

TEST_CASE("E10: SystemExit in a step of a generator is the error at its end") {
  const Scene running(scene, {.num_workers = 2});
  const SystemClock clock;
  EventLoop loop(clock);
  for (const char* const function : {"make", "make_later"}) {
    CAPTURE(function);
    Stream stream = PythonExecutor::stream("scene", function);
    const auto error = run_task(loop, error_of(stream));
    REQUIRE(error);
    check_exit(*error);
  }
}

TEST_CASE("E07: SystemExit in a context's code, coroutine or preload is their error") {
  const Scene running(scene, {.num_workers = 2});
  auto context = PythonExecutor::bind();
  REQUIRE(context.ok());
  CHECK(code_of(context->exec("import sys")) == Errc::ok);
  check_exit(context->exec("sys.exit(3)"));
  check_exit(context->eval("sys.exit(3)"));
  check_exit(context->call("scene", "leave"));
  for (const char* const function : {"leave", "leave_at_once", "leave_later", "leave_by_a_task"}) {
    CAPTURE(function);
    check_exit(
        PythonExecutor::async_call("scene", function, {}, {}, {.context = context->id()}).get());
  }
  CHECK(*context->eval("1 + 1") == Value(2));
  const auto failed = PythonExecutor::bind({.preload = "raise SystemExit(3)"});
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().type.find("SystemExit") != std::string::npos);
}

TEST_CASE("E01: SystemExit in a module of preload fails the start, and harms nothing") {
  ModuleFolder folder;
  folder.add("leaves_at_import", "import sys\nsys.exit(3)\n");
  const auto failed = PythonExecutor::start(
      {.num_workers = 1, .sys_path = {folder.path()}, .preload = {"leaves_at_import"}});
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().code == Errc::import_failed);
  CHECK(failed.error().type.find("SystemExit") != std::string::npos);
  CHECK_FALSE(PythonExecutor::is_initialized());
  const Scene running(scene);
  check_exit(PythonExecutor::call("scene", "leave"));
}

TEST_CASE("E01: SystemExit in a finally that the end runs ends nothing else") {
  const Scene running(scene);
  auto leaving = PythonExecutor::async_call("scene", "leave_in_finally");
  CHECK(*PythonExecutor::async_call("scene", "leave_in_call_soon").get() == Value("goes on"));
  CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  REQUIRE(leaving.is_ready());
  CHECK_FALSE(leaving.get().ok());
}

}  // namespace unirun::python
