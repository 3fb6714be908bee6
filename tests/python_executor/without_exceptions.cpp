// A program that is compiled without exceptions, as those are for which the interface was drawn:
// it submits, follows, awaits and calls, and what fails comes as a value. No doctest: it throws.

#include "executors/python/python.h"
// Python.h first.

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/python_executor.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"

#ifdef __cpp_exceptions
#error "compile this with -fno-exceptions"
#endif

using namespace unirun;
using namespace unirun::python;

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "without_exceptions: %s\n", what);
  std::_Exit(EXIT_FAILURE);
}

Task<long> awaited() {
  const auto one = co_await PythonExecutor::submit([] { return 1L; });
  const auto two = co_await PythonExecutor::submit([] { return PyLong_FromLong(2); });
  const GILGuard guard;
  co_return *one + PyLong_AsLong(two->get());
}

void submit_and_follow() {
  auto followed = PythonExecutor::submit([] {
                    return PyLong_FromLong(42);
                  }).then([](PyObject* value) {
                      return PyLong_AsLong(value);
                    }).then([](long value) { return std::to_string(value); });
  check(*followed.get() == "42", "submit().then().get()");
  std::vector<std::function<int()>> functions(8, [] { return 1; });
  int sum = 0;
  for (auto& outcome : PythonExecutor::submit_batch(std::span(functions))) sum += *outcome.get();
  check(sum == 8, "submit_batch()");
}

void fail() {
  const auto raised = PythonExecutor::submit([]() -> PyObject* {
                        PyErr_SetString(PyExc_ValueError, "no");
                        return nullptr;
                      }).get();
  check(!raised.ok() && raised.error().message == "no", "an exception of Python's");
  // The library that it calls has exceptions.
  const auto thrown = PythonExecutor::submit([] { return std::string().at(7); }).get();
  check(!thrown.ok() && thrown.error().type == "std::out_of_range", "an exception of a library's");
  const auto late = PythonExecutor::submit_timeout([] { return 1; }, 0).get();
  check(!late.ok() && late.error().code == python::Errc::timeout, "submit_timeout()");
}

void call_both_ways() {
  const auto add = PythonExecutor::register_function("add", [](int a, int b) { return a + b; });
  check(*PythonExecutor::call_as<int>("unirun", "call", {"add", 1, 2}) == 3, "call()");
  auto context = PythonExecutor::bind({.preload = "n = 7"});
  check(context.ok() && *context->eval("n") == Value(7), "bind()");
}

}  // namespace

int main() {
  check(PythonExecutor::initialize({.num_workers = 2}) == 0, "initialize()");
  submit_and_follow();
  fail();
  call_both_ways();
  const SystemClock clock;
  EventLoop loop(clock);
  check(run_task(loop, awaited()) == 3, "co_await");
  check(PythonExecutor::shutdown() == 0, "shutdown()");
}
