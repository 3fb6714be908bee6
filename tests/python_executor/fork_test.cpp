// E02: what is forked off a process with an executor, by C++ or by Python code: it has none, and
// whatever it does with what its parent has left there ends.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/async_scene.h"
#include "tests/python_executor/sanitizer.h"

namespace {

bool is_child = false;

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
// What only threads of the parent's lead to is a leak to LeakSanitizer, in a child that exits.
extern "C" [[gnu::visibility("default")]] int __lsan_is_turned_off() {  // NOLINT: its name.
  return is_child ? 1 : 0;
}
#endif

namespace unirun::python {
namespace {

constexpr const char* scene = R"(
import asyncio, os, signal, unirun

def fork_and_return():
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # Rather than for ever.
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
def compute(n): return sum(range(n))
async def nap():
    await asyncio.sleep(0.0001)
    return 1
async def fork_in_coroutine():
    await asyncio.sleep(0)
    return fork_and_return()
async def fork_in_first_step(): return fork_and_return()
async def fork_in_another_task():
    async def fork_there():
        await asyncio.sleep(0)
        return fork_and_return()
    return await asyncio.create_task(fork_there())
async def fork_in_callback():
    loop = asyncio.get_running_loop()
    forked = loop.create_future()
    loop.call_soon(lambda: forked.set_result(fork_and_return()))
    return await forked
def fork_in_own_loop(): return asyncio.run(fork_in_coroutine())
def fork_by_call(): return unirun.call("fork_here")
def fork_deep(levels): return unirun.call("deeper", levels - 1) if levels else fork_and_return()
def make():
    yield fork_and_return()
async def make_later():
    yield fork_and_return()
async def wait(): await asyncio.sleep(1000)
def numbers():
    for n in range(1 << 60): yield n
)";

// How `body` ends in a child of fork(): its exit code, or the signal that ended it, negative.
template <class Body>
int end_in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    is_child = true;
    ::alarm(60);  // Rather than for ever.
    body();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// In such a child.
void expect(bool is_so, const char* what) {
  if (is_so) return;
  std::fprintf(stderr, "in the child: not so: %s\n", what);
  ::_exit(1);
}
#define EXPECT_THERE(condition) expect(condition, #condition)

// Keeps all that an executor has busy, until its end.
class Load {
 public:
  Load() {
    for (int n = 0; n < 2; ++n) {
      threads_.emplace_back([this] {
        while (!is_over_) {
          auto task = PythonExecutor::submit([] { return PyLong_FromLong(1); }).then([](PyObject*) {
            return 1;
          });
          auto call = PythonExecutor::async_call("scene", "compute", {100});
          auto coroutine = PythonExecutor::async_call("scene", "nap");
          static_cast<void>(task.get());
          static_cast<void>(call.get());
          static_cast<void>(coroutine.get());
          const auto limited = PythonExecutor::register_function("again", [] { return 1; });
        }
      });
    }
  }
  ~Load() {
    is_over_ = true;
    for (auto& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> is_over_{false};
  std::vector<std::thread> threads_;
};

void use_executor_in_child() {
  EXPECT_THERE(!PythonExecutor::is_initialized());
  auto task = PythonExecutor::submit([] { return 1; });
  EXPECT_THERE(code_of(task) == Errc::not_initialized);
  auto call = PythonExecutor::async_call("math", "sqrt", {4.0});
  EXPECT_THERE(code_of(call.get()) == Errc::not_initialized);
  EXPECT_THERE(code_of(PythonExecutor::call("math", "sqrt", {4.0})) == Errc::not_initialized);
  EXPECT_THERE(code_of(PythonExecutor::bind()) == Errc::not_initialized);
  const std::vector<CallSpec> calls(2, {"math", "sqrt", {4.0}});
  const auto gathered = PythonExecutor::gather(calls).get();
  EXPECT_THERE(gathered.ok() && code_of(gathered->front()) == Errc::not_initialized);
  EXPECT_THERE(code_of(PythonExecutor::parallel(calls).get()) == Errc::not_initialized);
  EXPECT_THERE(PythonExecutor::initialize({}) == static_cast<int>(Errc::unsupported));
  EXPECT_THERE(PythonExecutor::shutdown() == static_cast<int>(Errc::not_initialized));
  EXPECT_THERE(code_of(PythonExecutor::finalize()) == Errc::unsupported);
  EXPECT_THERE(!GILGuard().attached());
  EXPECT_THERE(!PythonExecutor::interrupt(TaskId{1}));
  static_cast<void>(PythonExecutor::get_stats());
  static_cast<void>(PythonExecutor::execution_mode());
  const auto function = PythonExecutor::register_function("of_the_child", [] { return 1; });
  EXPECT_THERE(function.ok());
}

}  // namespace

TEST_CASE("E02: a child of C++'s fork() under load has no executor, and is told so") {
  const Scene running(scene, {.num_workers = 2});
  std::optional<Load> load;
  if (!sanitizer_forks_alone) load.emplace();
  for (int turn = 0; turn < 30; ++turn) {
    CHECK(end_in_child(use_executor_in_child) == 0);
    CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
  }
}

TEST_CASE("E02: what its parent has there can be dropped, and nothing of it is waited for") {
  const Scene running(scene, {.num_workers = 2});
  std::latch is_called{1};
  std::latch open{1};
  std::optional<Registration> function = PythonExecutor::register_function("stay", [&] {
    is_called.count_down();
    open.wait();
  });
  std::optional<Context> context = *PythonExecutor::bind();
  std::optional<Ref> object;
  {
    const GILGuard guard;
    object = Ref::steal(PyList_New(0));
  }
  std::optional<Stream> stream = PythonExecutor::stream("scene", "numbers");
  auto coroutine = PythonExecutor::async_call("scene", "wait");
  auto of_context = PythonExecutor::async_call("scene", "wait", {}, {}, {.context = context->id()});
  auto stuck = PythonExecutor::submit([] {
    return PyRun_String("__import__('unirun').call('stay')", Py_eval_input, PyEval_GetBuiltins(),
                        PyEval_GetBuiltins());
  });
  is_called.wait();
  std::vector<CallSpec> calls(2, {"scene", "wait"});
  std::optional gathered = PythonExecutor::gather(calls);
  std::optional<future<int>> chained =
      PythonExecutor::submit([] { return 1; }, {.context = context->id()}).then([](int value) {
        return value;
      });
  const auto end = [&] {
    EXPECT_THERE(!coroutine.wait_for(3600s));
    EXPECT_THERE(code_of(coroutine.get()) == Errc::not_initialized);
    EXPECT_THERE(!coroutine.cancel());
    EXPECT_THERE(code_of(of_context.get()) == Errc::not_initialized);
    EXPECT_THERE(!of_context.cancel());
    EXPECT_THERE(code_of(stuck.get()) == Errc::not_initialized);
    EXPECT_THERE(!stuck.cancel());
    EXPECT_THERE(code_of(gathered->get()) == Errc::not_initialized);
    EXPECT_THERE(!gathered->cancel());
    gathered.reset();
    chained.reset();
    EXPECT_THERE(code_of(context->exec("pass")) == Errc::not_initialized);
    EXPECT_THERE(code_of(context->close()) == Errc::worker_lost);
    context.reset();
    object.reset();
    function.reset();
    stream.reset();
  };
  SUBCASE("by _exit()") { CHECK(end_in_child(end) == 0); }
  SUBCASE("by exit(), and what is destroyed then") {
    CHECK(end_in_child([&] {
            end();
            std::exit(5);
          }) == 5);
  }
  SUBCASE("as it is") {
    CHECK(end_in_child([] { std::exit(5); }) == 5);
  }
  SUBCASE("a stream that is read") {
    CHECK(end_in_child([&] {
            const SystemClock clock;
            EventLoop loop(clock);
            const auto read = [&]() -> Task<int> {
              int items = 0;
              while (auto item = co_await stream->next()) items += item->ok() ? 1 : 1000;
              co_return items;
            };
            EXPECT_THERE(run_task(loop, read()) >= 1000);
          }) == 0);
  }
  open.count_down();
}

TEST_CASE("E02: a child that Python code forks and that returns from there ends, wherever it is") {
  const Scene running(scene, {.num_workers = 2});
  const auto here = PythonExecutor::register_function(
      "fork_here", [] { return PythonExecutor::call("scene", "fork_and_return"); });
  const auto deeper = PythonExecutor::register_function(
      "deeper", [](int levels) { return PythonExecutor::call("scene", "fork_deep", {levels}); });
  auto context = PythonExecutor::bind();
  REQUIRE(context.ok());
  for (const ContextId where : {ContextId::none, context->id()}) {
    for (const char* const function :
         {"fork_and_return", "fork_in_coroutine", "fork_in_first_step", "fork_in_another_task",
          "fork_in_callback", "fork_in_own_loop", "fork_by_call"}) {
      CAPTURE(function);
      const auto code =
          PythonExecutor::async_call("scene", function, {}, {}, {.context = where}).get();
      REQUIRE_MESSAGE(code.ok(), text_of(code));
      CHECK(*code == Value(1));
    }
    const auto deep =
        PythonExecutor::async_call("scene", "fork_deep", {2000}, {}, {.context = where}).get();
    REQUIRE_MESSAGE(deep.ok(), text_of(deep));
    CHECK(*deep == Value(1));
  }
  const SystemClock clock;
  EventLoop loop(clock);
  for (const char* const function : {"make", "make_later"}) {
    Stream stream = PythonExecutor::stream("scene", function);
    const auto first = [&]() -> Task<Value> { co_return **co_await stream.next(); };
    CHECK(run_task(loop, first()) == Value(1));
  }
}

TEST_CASE("E02: a task that was forked takes nothing over of what waits in its parent") {
  const Scene running(scene, {.num_workers = 1});
  std::atomic<int> ran{0};
  auto forking = PythonExecutor::submit([&] {
    auto waiting = PythonExecutor::submit([&] { return ++ran; });
    return end_in_child([&] {
      EXPECT_THERE(code_of(waiting) == Errc::not_initialized);
      EXPECT_THERE(ran == 0);
    });
  });
  CHECK(*forking.get() == 0);
}

}  // namespace unirun::python
