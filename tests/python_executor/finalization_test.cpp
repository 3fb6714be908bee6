// E01: the end of Python, for good. A program of its own, since nothing runs after it.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <latch>
#include <thread>
#include <vector>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/interpreter/interpreter.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/executor_fixture.h"
#include "tests/python_executor/sanitizer.h"

namespace unirun::python {
namespace {

using Outcomes = std::vector<Result<Value>>;

template <class T>
Errc code_of(const Result<T>& result) {
  return result.ok() ? Errc::ok : result.error().code;
}

PyObject* run(const char* code) {
  const Reference names =
      Reference::steal(Py_BuildValue("{s:O}", "__builtins__", PyEval_GetBuiltins()));
  return PyRun_String(code, Py_file_input, names.get(), names.get());
}

Errc code_of_stream() {
  const SystemClock clock;
  EventLoop loop(clock);
  const auto read = []() -> Task<Errc> {
    Stream stream = PythonExecutor::stream("builtins", "range", {3});
    const std::optional<Result<Value>> item = co_await stream.next();
    co_return item ? code_of(*item) : Errc::ok;
  };
  return run_task(loop, read());
}

// What is left of a Python that ended: each of these outlives it.
struct Heirlooms {
  future<PyObject*> result = PythonExecutor::submit([] { return PyList_New(0); });
  future<int> derived;
  Result<Context> context = PythonExecutor::bind({.name = "heir"});
  Result<Value> object = PythonExecutor::call("builtins", "object");
  Registration function = PythonExecutor::register_function("legacy", [](int n) { return n; });
};

}  // namespace

// Before this process has a Python: a program of its own in which `leave` is to end it by exit(7).
template <class Leave>
void check_exit(Leave leave) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);  // Rather than for ever.
    static_cast<void>(PythonExecutor::initialize({.num_workers = 3}));
    const auto loop_exit = PythonExecutor::register_function("leave", [] { std::exit(7); });
    // One on each worker.
    auto context = PythonExecutor::bind({.preload = "import unirun\n"
                                                    "async def leave(): unirun.call('leave')"});
    auto second = PythonExecutor::bind();
    auto third = PythonExecutor::bind();
    auto busy =
        PythonExecutor::submit([] { return run("while True: pass"); }, {.context = second->id()});
    auto asleep = PythonExecutor::submit([] { return run("import time; time.sleep(3600)"); },
                                         {.context = third->id()});
    auto coroutine = PythonExecutor::async_call("asyncio", "sleep", {3600});
    leave(*context);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  if (is_sanitized) {
    CHECK(WEXITSTATUS(status) != 0);  // What it makes of the memory that is left.
  } else {
    CHECK(WEXITSTATUS(status) == 7);
  }
}

TEST_CASE("A01: exit() ends the program with its code, whoever calls it and whatever else runs") {
  for (int turn = 0; turn < 3; ++turn) {
    check_exit(
        [](Context&) { static_cast<void>(PythonExecutor::submit([] { std::exit(7); }).get()); });
    check_exit([](Context&) {
      static_cast<void>(
          PythonExecutor::submit([] { return run("import unirun; unirun.call('leave')"); }).get());
    });
    check_exit([](Context& context) { static_cast<void>(context.exec("unirun.call('leave')")); });
    check_exit([](Context& context) {
      static_cast<void>(
          PythonExecutor::async_call("__main__", "leave", {}, {}, {.context = context.id()}).get());
    });
    check_exit([](Context&) {
      static_cast<void>(PythonExecutor::submit([] {
                          return run(
                              "import sys, types, unirun\n"
                              "async def leave(): unirun.call('leave')\n"
                              "sys.modules['left'] = types.ModuleType('left')\n"
                              "sys.modules['left'].leave = leave\n");
                        }).get());
      static_cast<void>(PythonExecutor::async_call("left", "leave").get());
    });
    check_exit([](Context&) {
      const GILGuard guard;
      std::exit(7);
    });
    check_exit([](Context&) { std::thread([] { std::exit(7); }).join(); });
  }
}

TEST_CASE("A01: finalize() ends Python for good, and whoever asks for it later is told so") {
  REQUIRE_FALSE(PythonExecutor::finalize().ok());
  CHECK(PythonExecutor::finalize().error().code == Errc::unsupported);  // None was started.
  CHECK(PythonExecutor::initialize({.num_workers = 2}) == 0);
  CHECK(PythonExecutor::finalize().error().code == Errc::unsupported);  // It is in use.

  Heirlooms left;
  REQUIRE(left.context.ok());
  REQUIRE(left.object.ok());
  REQUIRE(left.result.wait_for(patience));
  const Ref kept = left.object->as_ref();

  // A thread that has a state of Python's, and lives on.
  std::latch attached(1);
  std::latch ended(1);
  bool attached_later = true;
  std::thread witness([&] {
    { CHECK(GILGuard().attached()); }
    attached.count_down();
    ended.wait();
    attached_later = GILGuard().attached();
  });
  attached.wait();

  REQUIRE(PythonExecutor::shutdown() == 0);
  std::thread([] { CHECK(PythonExecutor::finalize().error().code == Errc::unsupported); }).join();
  {
    const GILGuard guard;
    CHECK(Interpreter::finalize(50ms).error().code == Errc::stuck);
  }
  CHECK(PythonExecutor::call("math", "sqrt", {4.0}).error().code == Errc::not_initialized);
  CHECK(PythonExecutor::initialize({.num_workers = 1}) == 0);  // Until now it can begin again.
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
  REQUIRE(PythonExecutor::shutdown() == 0);

  const auto done = PythonExecutor::finalize();
  REQUIRE_MESSAGE(done.ok(), (done.ok() ? "" : done.error().message));
  ended.count_down();
  witness.join();
  CHECK_FALSE(attached_later);
  CHECK_FALSE(GILGuard().attached());
  CHECK_FALSE(PythonExecutor::is_initialized());

  CHECK(PythonExecutor::finalize().error().code == Errc::finalized);
  CHECK(PythonExecutor::initialize({}) == static_cast<int>(Errc::finalized));
  auto submitted = PythonExecutor::submit([] { return 1; });
  CHECK(code_of(submitted) == Errc::finalized);
  CHECK(code_of(PythonExecutor::call("math", "sqrt", {4.0})) == Errc::finalized);
  auto asked = PythonExecutor::async_call("asyncio", "sleep", {0});
  CHECK(code_of(asked) == Errc::finalized);
  const std::vector<CallSpec> calls = {{"math", "sqrt", {4.0}}};
  auto gathered = PythonExecutor::gather(calls);
  auto parallel = PythonExecutor::parallel(calls);
  const Result<Outcomes> all = gathered.get();
  CHECK((all.ok() ? code_of(all->front()) : all.error().code) == Errc::finalized);
  const Result<Outcomes> both = parallel.get();
  CHECK((both.ok() ? code_of(both->front()) : both.error().code) == Errc::finalized);
  CHECK(code_of_stream() == Errc::finalized);
  CHECK(code_of(PythonExecutor::bind()) == Errc::finalized);
  CHECK(code_of(left.context->call("__main__", "f")) == Errc::finalized);
  CHECK_FALSE(PythonExecutor::interrupt(TaskId{1}));
  CHECK(PythonExecutor::shutdown() == static_cast<int>(Errc::finalized));

  // What needs no Python goes on, and nothing that outlives it touches it.
  CHECK(PythonExecutor::get_stats().tasks_executed > 0);
  CHECK(kept.get() == nullptr);
  CHECK(left.result.is_ready());
  left.derived = left.result.then([](PyObject* /*value*/) { return 1; });
  CHECK(code_of(left.derived) == Errc::finalized);
}

}  // namespace unirun::python
