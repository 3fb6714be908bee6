// The PythonExecutor as a C++ program uses it: E01 to E05, E16, E19 and E25 of the contract.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/python_executor.h"
#include "executors/python/values/exception_text.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/executor_fixture.h"
#include "tests/threads_of_process.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

// The value of a Python expression. With the GIL.
PyObject* evaluate(const char* expression) {
  const Reference names = Reference::steal(PyDict_New());
  PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins());
  return PyRun_String(expression, Py_eval_input, names.get(), names.get());
}
PyObject* execute(const char* code) {
  const Reference names = Reference::steal(PyDict_New());
  PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins());
  return PyRun_String(code, Py_file_input, names.get(), names.get());
}

}  // namespace

// ---- E01 ----

TEST_CASE("A01: a hundred cycles in one process run every task and leave no thread") {
  { const Running once; }
  const auto before = test::threads_of_this_process();
  for (int cycle = 0; cycle < 100; ++cycle) {
    const Running running({.num_workers = 4});
    std::vector<future<int>> futures;
    for (int task = 0; task < 1000; ++task)
      futures.push_back(PythonExecutor::submit([task] { return task; }));
    REQUIRE(PythonExecutor::shutdown() == 0);
    int sum = 0;
    for (auto& outcome : futures) {
      REQUIRE(outcome.is_ready());
      const auto result = outcome.get();
      REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message));
      sum += *result;
    }
    REQUIRE(sum == 499500);
    const Stats stats = PythonExecutor::get_stats();
    REQUIRE(stats.tasks_queued + stats.running == 0);
  }
  CHECK(test::no_threads_are_left_but(before));
}

TEST_CASE("A01: a shutdown that does not drain cancels what waits, and settles every future") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  std::vector<future<int>> futures;
  for (int task = 0; task < 9999; ++task)
    futures.push_back(PythonExecutor::submit([task] { return task; }));
  std::thread ending([] { static_cast<void>(PythonExecutor::shutdown({.drain = 0s})); });
  for (auto& outcome : futures) CHECK(code_of(outcome) == Errc::cancelled);
  gate.let_go();
  ending.join();
  CHECK(first.is_ready());
  CHECK_FALSE(PythonExecutor::is_initialized());
}

TEST_CASE("A01: a shutdown gives up who is stuck in C, says so, and leaves no future waiting") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto stuck = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  const auto ended = PythonExecutor::shutdown({.drain = 0s, .grace = 100ms});
  REQUIRE_FALSE(ended.ok());
  CHECK(ended.error().code == Errc::stuck);
  REQUIRE(stuck.is_ready());
  CHECK(code_of(stuck) == Errc::stuck);
  gate.let_go();
}

TEST_CASE("A01: another python3 that comes first on PATH does not lend its modules") {
  std::string other = (std::filesystem::temp_directory_path() / "unirun-prefix-XXXXXX").string();
  REQUIRE(::mkdtemp(other.data()) != nullptr);
  const std::string modules =
      fmt::format("{}/lib/python{}.{}", other, PY_MAJOR_VERSION, PY_MINOR_VERSION);
  std::filesystem::create_directories(other + "/bin");
  std::filesystem::create_directories(modules + "/lib-dynload");
  std::ofstream(modules + "/os.py") << "raise ImportError('not the right one')\n";
  std::ofstream(other + "/bin/python3") << "#!/bin/sh\n";
  std::filesystem::permissions(other + "/bin/python3", std::filesystem::perms::owner_all);
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  // In a process of its own, where Python has not begun.
  const std::string command =
      fmt::format("PATH='{}/bin':\"$PATH\" '{}' --test-case='A01: a second start*' >/dev/null 2>&1",
                  other, program);
  CHECK(std::system(command.c_str()) == 0);
  std::filesystem::remove_all(other);
}

TEST_CASE("A01: a second start is refused and harms nothing") {
  const Running running;
  CHECK(PythonExecutor::initialize({}) == static_cast<int>(Errc::already_initialized));
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
}

TEST_CASE("A01: a start that fails says why and leaves nothing behind") {
  const auto failed =
      PythonExecutor::start({.num_workers = 1, .preload = {"json", "no_such_module"}});
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().code == Errc::import_failed);
  CHECK(failed.error().message.find("no_such_module") != std::string::npos);
  CHECK_FALSE(PythonExecutor::is_initialized());
  const Running running;
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
}

TEST_CASE("A01: what a Config cannot have is refused by its name before anything starts") {
  struct Case {
    PythonExecutor::Config config;
    Errc code;
    std::string named;
    std::string right;
  };
  const std::string cut = std::string("json") + '\0' + "x";
  const std::vector<Case> cases{
      {{.stack_bytes = 0}, Errc::unsupported, "Config::stack_bytes: 0", "6291456"},
      {{.stack_bytes = 4096}, Errc::unsupported, "Config::stack_bytes: 4096", "6291456"},
      {{.stack_bytes = 1 << 20}, Errc::unsupported, "Config::stack_bytes: 1048576", "6 MiB"},
      {{.switch_interval = 0us}, Errc::unsupported, "Config::switch_interval: 0 us", "1 us"},
      {{.switch_interval = -5ms}, Errc::unsupported, "Config::switch_interval: -5000 us", "1 us"},
      {{.switch_interval = std::chrono::microseconds::max()},
       Errc::unsupported,
       "Config::switch_interval: 9223372036854775807 us",
       "an hour"},
      {{.sys_path = {"/tmp", cut}}, Errc::unsupported, "Config::sys_path[1]", "json\\x00x"},
      {{.preload = {cut}}, Errc::import_failed, "Config::preload[0]", "json\\x00x"},
      {{.worker_program = cut}, Errc::unsupported, "Config::worker_program", "json\\x00x"},
  };
  const auto before = test::threads_of_this_process();
  for (Case one : cases) {
    one.config.num_workers = 1;
    const auto refused = PythonExecutor::start(one.config);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == one.code);
    const std::string& message = refused.error().message;
    CHECK_MESSAGE(message.find(one.named) != std::string::npos, message);
    CHECK_MESSAGE(message.find(one.right) != std::string::npos, message);
    CHECK_FALSE(PythonExecutor::is_initialized());
  }
  CHECK(test::no_threads_are_left_but(before));
  CHECK(PythonExecutor::initialize({.stack_bytes = 1}) == static_cast<int>(Errc::unsupported));
  const Running running({.num_workers = 1, .stack_bytes = 6 << 20, .switch_interval = 1us});
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
}

TEST_CASE("A01: on the least stack that there may be, runaway recursion is a RecursionError") {
  const Running running({.num_workers = 1, .stack_bytes = 6 << 20});
  for (const char* const code :
       {"f = lambda x: sorted([x], key=f)\nf(0)", "import json\njson.loads('[' * 100_000)",
        "x = []\nfor _ in range(100_000): x = [x]\nrepr(x)",
        "class C: pass\nC.__call__ = C()\nC()()"}) {
    const auto ended = PythonExecutor::submit([code] {
                         const Reference names = Reference::steal(PyDict_New());
                         PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins());
                         return PyRun_String(code, Py_file_input, names.get(), names.get());
                       }).get();
    REQUIRE_FALSE(ended.ok());
    CHECK(ended.error().type == "builtins.RecursionError");
  }
}

TEST_CASE("A01: a worker cannot shut down what it is part of") {
  const Running running;
  CHECK(*PythonExecutor::submit([] { return PythonExecutor::shutdown(); }).get() ==
        static_cast<int>(Errc::unsupported));
  CHECK(PythonExecutor::is_initialized());
}

TEST_CASE("A01: without a running executor every task fails at once") {
  auto outcome = PythonExecutor::submit([] { return 1; });
  CHECK(outcome.is_ready());
  CHECK(code_of(outcome) == Errc::not_initialized);
  CHECK(PythonExecutor::shutdown() == static_cast<int>(Errc::not_initialized));
}

namespace {

// A task that waits for a loop which does not run, until let_go().
class InVain {
 public:
  // Its future, once it waits.
  future<PyObject*> submit() {
    auto waiting =
        PythonExecutor::submit([] { return execute("import unirun\nunirun.call('there')"); });
    const Instant end = SystemClock().now() + patience;
    while (!is_waiting(waiting.id()) && SystemClock().now() < end) std::this_thread::sleep_for(1ms);
    return waiting;
  }
  void let_go() {
    std::thread serving([this] { loop_.run(); });
    there_.reset();  // Waits for the call.
    loop_.stop();
    serving.join();
  }

 private:
  static bool is_waiting(TaskId id) {
    const std::string name = fmt::format("task {}", static_cast<std::uint64_t>(id));
    return std::ranges::any_of(PythonExecutor::get_stats().waiting, [&](const WaitChain& chain) {
      return std::ranges::find(chain, name) != chain.end();
    });
  }

  const SystemClock clock_{};
  EventLoop loop_{clock_};
  Registration there_ = PythonExecutor::register_function("there", [] { return 1; },
                                                          {.thread = On::loop, .loop = &loop_});
};

// Others have the GIL, and end.
void check_that_tasks_run() {
  for (int turn = 0; turn < 100; ++turn) {
    auto task = PythonExecutor::submit([] { return evaluate("sum(range(1000))"); });
    REQUIRE(task.wait_for(patience));
    REQUIRE(task.get().ok());
  }
}

}  // namespace

TEST_CASE("A01: a task that waits in vain holds up neither the shutdown nor later executors") {
  InVain in_vain;
  {
    const Running running({.num_workers = 2});
    auto waiting = in_vain.submit();
    const auto ended = PythonExecutor::shutdown({.drain = 0s, .grace = 1s});
    REQUIRE_FALSE(ended.ok());
    CHECK(ended.error().code == Errc::stuck);
    CHECK(ended.error().message.starts_with("1 workers "));
    CHECK(code_of(waiting) == Errc::stuck);
  }
  for (int life = 0; life < 3; ++life) {
    const Running running({.num_workers = 2});
    check_that_tasks_run();
    CHECK(PythonExecutor::shutdown() == 0);
  }
  in_vain.let_go();
}

TEST_CASE("A05: a worker whose task waits in vain is given up, and another takes its place") {
  InVain in_vain;
  const Running running({.num_workers = 1});
  auto waiting = in_vain.submit();
  CHECK(waiting.cancel());
  const Instant end = SystemClock().now() + patience;
  while (PythonExecutor::get_stats().stuck == 0 && SystemClock().now() < end)
    std::this_thread::sleep_for(1ms);
  CHECK(PythonExecutor::get_stats().stuck == 1);
  check_that_tasks_run();
  CHECK(PythonExecutor::shutdown() == 0);
  in_vain.let_go();
}

TEST_CASE("A01: workers that were given up end while the next executor starts") {
  for (int turn = 0; turn < 100; ++turn) {
    Gated gated;
    const Running running({.num_workers = 1});
    auto outcome = PythonExecutor::submit(gated.task());
    gated.wait_until_running();
    const auto ended = PythonExecutor::shutdown({.drain = 0s, .grace = 0s});
    REQUIRE_FALSE(ended.ok());
    CHECK(ended.error().code == Errc::stuck);
    gated.let_go();  // Its worker ends whenever it likes.
  }
}

// ---- E03 ----

// A guard, a release, and so on, so deep; how often it held the GIL of the interpreter `id` within.
int nest(int depth, std::int64_t id = 0) {
  const GILGuard guard;
  if (!guard.attached() || PyInterpreterState_GetID(PyInterpreterState_Get()) != id) return 0;
  if (PyLong_AsLong(Reference::steal(PyLong_FromLong(depth)).get()) != depth) return 0;
  const GILRelease released;
  return 1 + (depth > 1 ? nest(depth - 1, id) : 0);
}

TEST_CASE("A03: guards and releases nest five deep, 10,000 times on 16 fresh threads") {
  const Running running;
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 16; ++thread) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 625; ++turn) right += nest(5);
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(right == 5 * 10'000);
}

TEST_CASE("A03: guards and releases nest five deep on a thread of Python's") {
  const Running running;
  const GILGuard guard;
  static PyMethodDef definition{
      "nest", [](PyObject*, PyObject*) { return PyLong_FromLong(nest(5)); }, METH_NOARGS, nullptr};
  const Reference names = Reference::steal(PyDict_New());
  PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins());
  PyDict_SetItemString(names.get(), "nest",
                       Reference::steal(PyCFunction_New(&definition, nullptr)).get());
  const char* const code =
      "import threading\n"
      "held = []\n"
      "def work():\n"
      "    for _ in range(100): held.append(nest())\n"
      "threads = [threading.Thread(target=work) for _ in range(4)]\n"
      "for thread in threads: thread.start()\n"
      "for thread in threads: thread.join()\n"
      "assert held == [5] * 400, held\n";
  const Reference done =
      Reference::steal(PyRun_String(code, Py_file_input, names.get(), names.get()));
  CHECK_MESSAGE(done, (done ? std::string() : error_of_exception().traceback));
}

#if PY_VERSION_HEX >= 0x030c0000
TEST_CASE("A03: in a sub-interpreter guards are that one's, and a context's is the main one's") {
  const Running running;
  auto context = PythonExecutor::bind();
  REQUIRE(context.ok());
  const GILGuard guard;
  const auto here = [] { return PyInterpreterState_GetID(PyInterpreterState_Get()); };
  PyThreadState* const main = PyThreadState_Get();
  PyThreadState* const sub = Py_NewInterpreter();
  REQUIRE(sub != nullptr);
  const std::int64_t id = here();
  CHECK(id != 0);
  CHECK(nest(5, id) == 5);
  {
    const GILGuard there(*context);
    CHECK(there.attached());
    CHECK(here() == context->interpreter_id());
    CHECK(nest(5, context->interpreter_id()) == 5);
    const GILGuard same(*context);
    CHECK(same.attached());
  }
  CHECK(here() == id);
  Py_EndInterpreter(sub);
  PyThreadState_Swap(main);
}
#endif

TEST_CASE("A03: a guard of a context on a thread that Python does not know") {
  const Running running;
  auto context = PythonExecutor::bind();
  REQUIRE(context.ok());
  std::int64_t id = -1;
  std::thread([&] {
    const GILGuard guard(*context);
    if (guard.attached()) id = PyInterpreterState_GetID(PyInterpreterState_Get());
    const GILRelease released;
    const GILGuard again(*context);
    if (nest(5) != 5) id = -1;
  }).join();
  CHECK(id == context->interpreter_id());
}

#ifndef NDEBUG
TEST_CASE("A03: a guard that ends before a later one is refused where assert() is") {
  const pid_t child = ::fork();
  if (child == 0) {
    std::fclose(stderr);
    ::signal(SIGABRT, SIG_DFL);
    auto first = std::make_unique<GILGuard>();
    auto second = std::make_unique<GILRelease>();
    first.reset();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
}
#endif

TEST_CASE("A03: a guard within a task of a worker, and around a release there, is its own GIL") {
  const Running running;
  CHECK(*PythonExecutor::submit([] {
           const GILGuard outer;
           const GILRelease released;
           const GILGuard inner;
           const GILGuard again;
           return inner.attached() && again.attached() &&
                  PyLong_AsLong(Reference::steal(PyLong_FromLong(7)).get()) == 7;
         }).get());
}

TEST_CASE("A03: releasing what one does not hold does nothing") {
  const Running running;
  const GILRelease nothing;
  const GILGuard guard;
  CHECK(guard.attached());
}

// ---- E04 ----

TEST_CASE("A04: four producers have a hundred thousand tasks run, each once") {
  const Running running({.num_workers = 2, .queue_size = 0});
  std::atomic<std::int64_t> sum{0};
  std::vector<std::thread> producers;
  for (int producer = 0; producer < 4; ++producer) {
    producers.emplace_back([&] {
      std::vector<future<std::int64_t>> futures;
      for (std::int64_t task = 0; task < 25000; ++task)
        futures.push_back(PythonExecutor::submit([task] { return task; }));
      for (auto& outcome : futures) sum += *outcome.get();
    });
  }
  for (auto& producer : producers) producer.join();
  CHECK(sum == 4 * (25000LL * 24999 / 2));
}

TEST_CASE("A04: what a task raises comes as its error, and ends nothing else") {
  const Running running;
  auto failed = PythonExecutor::submit([] { return execute("raise ValueError('no')"); });
  const auto error = failed.get();
  REQUIRE_FALSE(error.ok());
  CHECK(error.error().code == Errc::python_exception);
  CHECK(error.error().type.find("ValueError") != std::string::npos);
  CHECK(error.error().message == "no");
  for (const char* const code :
       {"raise SystemExit(3)", "raise KeyboardInterrupt", "raise GeneratorExit"}) {
    auto ended = PythonExecutor::submit([code] { return execute(code); });
    CHECK(code_of(ended) == Errc::python_exception);
  }
  auto thrown = PythonExecutor::submit([]() -> int { throw std::runtime_error("of C++"); });
  CHECK(thrown.get().error().message == "of C++");
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
}

TEST_CASE("A04: null without an exception is an error, and so is a value beside one") {
  const Running running;
  auto null = PythonExecutor::submit([]() -> PyObject* { return nullptr; });
  CHECK(null.get().error().message.find("without an exception") != std::string::npos);
  auto left_over = PythonExecutor::submit([] {
    PyErr_SetString(PyExc_LookupError, "left over");
    return 1;
  });
  CHECK(left_over.get().error().message == "left over");
}

TEST_CASE("A04: no exception that a task leaves set comes to the next") {
  const Running running({.num_workers = 1});
  const auto set = [] { PyErr_SetString(PyExc_LookupError, "left over"); };
  const auto is_set = [] { return PyErr_Occurred() != nullptr; };
  const auto object = PythonExecutor::submit([&] { return set(), PyLong_FromLong(1); }).get();
  REQUIRE_FALSE(object.ok());
  CHECK(object.error().message == "left over");
  CHECK_FALSE(*PythonExecutor::submit(is_set).get());
  const auto refused = PythonExecutor::submit([&]() -> Result<PyObject*> {
                         set();
                         return Error{.code = Errc::stuck, .message = "its own"};
                       }).get();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message == "left over");
  CHECK_FALSE(*PythonExecutor::submit(is_set).get());
  const auto thrown = PythonExecutor::submit([&]() -> int {
                        set();
                        throw std::runtime_error("of C++");
                      }).get();
  REQUIRE_FALSE(thrown.ok());
  CHECK(thrown.error().message == "of C++");
  CHECK_FALSE(*PythonExecutor::submit(is_set).get());
}

TEST_CASE("A04: a callable is called with its arguments, and no reference to it is left") {
  const Running running;
  Ref callable;
  Py_ssize_t before = 0;
  {
    const GILGuard guard;
    callable = Ref::steal(evaluate("lambda a, b=1: a * b"));
    before = Py_REFCNT(callable.get());
  }
  Ref args;
  Ref kwargs;
  {
    const GILGuard guard;
    args = Ref::steal(Py_BuildValue("(i)", 6));
    kwargs = Ref::steal(Py_BuildValue("{s:i}", "b", 7));
  }
  {
    auto product = PythonExecutor::submit(callable, args, kwargs);
    const auto result = product.get();
    REQUIRE(result.ok());
    const GILGuard guard;
    CHECK(PyLong_AsLong(*result) == 42);
  }
  const GILGuard guard;
  CHECK(Py_REFCNT(callable.get()) == before);
}

TEST_CASE("A04: a callable that is none, or arguments of the wrong kind, are errors that say so") {
  const Running running;
  const auto value_of = [](const char* expression) {
    const GILGuard guard;
    return Ref::steal(evaluate(expression));
  };
  const Ref length = value_of("len");
  struct Case {
    Ref callable, args, kwargs;
    Errc code;
    std::string message;
  };
  const std::vector<Case> cases{
      {{}, {}, {}, Errc::not_callable, "submit: the callable is a Ref of nothing: it has to be"},
      {value_of("7"), {}, {}, Errc::not_callable, "submit: the callable is a int: it has to be"},
      {length, value_of("[[1]]"), {}, Errc::conversion, "submit: args is a list: it has to be a "},
      {length, value_of("7"), {}, Errc::conversion, "submit: args is a int: it has to be a tuple"},
      {length, value_of("None"), {}, Errc::conversion, "submit: args is a NoneType: it has to be"},
      {length, value_of("{}"), {}, Errc::conversion, "submit: args is a dict: it has to be a "},
      {length, {}, value_of("()"), Errc::conversion, "submit: kwargs is a tuple: it has to be a"},
      {length, {}, value_of("'a'"), Errc::conversion, "submit: kwargs is a str: it has to be a "},
      {length, {}, value_of("None"), Errc::conversion, "submit: kwargs is a NoneType: it has to"},
  };
  for (const Case& one : cases) {
    auto outcome = PythonExecutor::submit(one.callable, one.args, one.kwargs);
    const auto refused = outcome.get();
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == one.code);
    CHECK_MESSAGE(refused.error().message.starts_with(one.message), refused.error().message);
  }
  auto length_of_one =
      PythonExecutor::submit(length, value_of("([1],)"), value_of("{}")).then([](PyObject* value) {
        return PyLong_AsLong(value);
      });
  CHECK(*length_of_one.get() == 1);
}

TEST_CASE("A04: of a future that is a temporary, and of co_await, a Python object comes as a Ref") {
  const Running running;
  const auto list = [] { return PyList_New(0); };
  auto kept = PythonExecutor::submit(list);
  const Result<PyObject*> borrowed = kept.get();
  const Result<Ref> owned = PythonExecutor::submit(list).get();
  REQUIRE(borrowed.ok());
  REQUIRE(owned.ok());
  {
    const GILGuard guard;
    CHECK(Py_REFCNT(*borrowed) == 1);  // The future's.
    REQUIRE(owned->get() != nullptr);
    CHECK(Py_REFCNT(owned->get()) == 1);
    CHECK(PyList_Append(owned->get(), *borrowed) == 0);
  }
  const Result<Ref> moved = std::move(kept).get();
  REQUIRE(moved.ok());
  CHECK(moved->pointer() == *borrowed);
  const SystemClock clock;
  EventLoop loop(clock);
  const auto awaited = [](auto function) -> Task<Result<Ref>> {
    co_return co_await PythonExecutor::submit(function);
  };
  const Result<Ref> there = run_task(loop, awaited(list));
  REQUIRE(there.ok());
  {
    const GILGuard guard;
    CHECK(PyList_CheckExact(there->get()));
    CHECK(Py_REFCNT(there->get()) == 1);
  }
  CHECK(run_task(loop, awaited([] { return execute("raise ValueError('no')"); })).error().message ==
        "no");
}

TEST_CASE("A04: a continuation of a Python object runs on a worker with the GIL, and chains on") {
  const Running running;
  auto answer = PythonExecutor::submit([] {
                  return PyLong_FromLong(42);
                }).then([](PyObject* object) {
                    return PyLong_AsLong(object);
                  }).then([](long value) { return std::to_string(value); });
  CHECK(*answer.get() == "42");
}

TEST_CASE("A04: an error goes by the continuations to the last future") {
  const Running running;
  bool called = false;
  auto answer = PythonExecutor::submit([] {
                  return execute("raise ValueError('no')");
                }).then([&](PyObject*) { return called = true; });
  CHECK(answer.get().error().message == "no");
  CHECK_FALSE(called);
}

TEST_CASE("A04: an error goes by the continuations though every worker is busy, or gone") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  const auto one = [] { return PyLong_FromLong(1); };
  const auto next = [](PyObject* value) { return PyLong_AsLong(value); };
  auto late = PythonExecutor::submit(one, {.timeout = 1ms}).then(next);
  REQUIRE(late.wait_for(patience));
  CHECK(code_of(late) == Errc::timeout);
  auto waiting = PythonExecutor::submit(one).then(next);
  std::thread ending([] { static_cast<void>(PythonExecutor::shutdown({.drain = 0s})); });
  CHECK(code_of(waiting) == Errc::cancelled);
  gate.let_go();
  ending.join();
}

namespace {

// So many that a stack would not hold a call of each.
constexpr long links = 300'000;

// Grows while its first task has not ended, as a program's "after all that was asked for so far".
template <class T, class Function>
future<T> chain_of(future<T> tail, Function next) {
  for (long link = 0; link < links; ++link) tail = std::move(tail).then(next);
  return tail;
}

}  // namespace

TEST_CASE("A04: a chain of continuations is as long as one likes") {
  const Running running({.num_workers = 1, .queue_size = 10});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  const auto add_one = [](long value) { return value + 1; };
  auto sum = chain_of(PythonExecutor::submit([] { return 0L; }), add_one);
  auto failed = chain_of(PythonExecutor::submit([]() -> Result<long> {
                           return Error{.code = Errc::cancelled, .message = "no"};
                         }),
                         add_one);
  gate.let_go();
  CHECK(*sum.get() == links);
  CHECK(failed.get().error().message == "no");
  CHECK(first.get().ok());
}

TEST_CASE("A04: a chain of continuations of Python objects is as long as one likes") {
  const Running running({.num_workers = 1, .queue_size = 10});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  const auto add_one = [](PyObject* value) { return PyLong_FromLong(PyLong_AsLong(value) + 1); };
  auto sum = chain_of(PythonExecutor::submit([] { return PyLong_FromLong(0); }), add_one);
  auto failed =
      chain_of(PythonExecutor::submit([] { return execute("raise ValueError('no')"); }), add_one);
  gate.let_go();
  auto number = std::move(sum).then([](PyObject* value) { return PyLong_AsLong(value); });
  CHECK(*number.get() == links);
  CHECK(failed.get().error().message == "no");
  CHECK(first.get().ok());
}

TEST_CASE("A04: on a loop a continuation of a plain value comes back to that loop") {
  const Running running;
  const SystemClock clock;
  EventLoop loop(clock);
  bool on_loop = false;
  loop.post([&] {
    auto chained = PythonExecutor::submit([] { return 42; }).then([&](int value) {
      on_loop = loop.in_loop_thread() && value == 42;
      loop.stop();
    });
    static_cast<void>(chained);
  });
  loop.run();
  CHECK(on_loop);
}

namespace {
Task<int> add_on_loop(EventLoop& loop, bool& on_loop) {
  const auto one = co_await PythonExecutor::submit([] { return 1; });
  on_loop = loop.in_loop_thread();
  const auto two = co_await PythonExecutor::submit([] { return 2; });
  co_return *one + *two;
}
}  // namespace

TEST_CASE("A04: a coroutine on a loop awaits tasks there") {
  const Running running;
  const SystemClock clock;
  EventLoop loop(clock);
  bool on_loop = false;
  CHECK(run_task(loop, add_on_loop(loop, on_loop)) == 3);
  CHECK(on_loop);
}

TEST_CASE("A04: a batch runs in the order of its functions on one worker") {
  const Running running({.num_workers = 1});
  std::vector<int> order;
  std::vector<std::function<int()>> functions;
  for (int task = 0; task < 64; ++task) {
    functions.emplace_back([task, &order] {
      order.push_back(task);
      return task;
    });
  }
  auto futures = PythonExecutor::submit_batch(std::span(functions));
  for (int task = 0; task < 64; ++task)
    CHECK(*futures[static_cast<std::size_t>(task)].get() == task);
  CHECK(std::ranges::is_sorted(order));
}

TEST_CASE("A04: a task that waits for another serves it, with one worker") {
  const Running running({.num_workers = 1});
  const std::function<int(int)> nested = [&](int depth) -> int {
    if (depth == 0) return 0;
    return 1 + *PythonExecutor::submit([&, depth] { return nested(depth - 1); }).get();
  };
  CHECK(*PythonExecutor::submit([&] { return nested(20); }).get() == 20);
}

TEST_CASE("A04: a loop is never held up by workers that compute") {
  const Running running;
  const char* const busy = "for _ in range(3_000_000): pass";
  std::vector<future<PyObject*>> computing;
  for (int worker = 0; worker < 2; ++worker)
    computing.push_back(PythonExecutor::submit([=] { return execute(busy); }));
  // Submission takes no GIL: a thousand are through before the first of them can run.
  std::vector<future<int>> futures;
  for (int task = 0; task < 1000; ++task)
    futures.push_back(PythonExecutor::submit([] { return 1; }));
  int sum = 0;
  for (auto& outcome : futures) sum += *outcome.get();
  CHECK(sum == 1000);
  for (auto& outcome : computing) CHECK(code_of(outcome) == Errc::ok);
}

// ---- E05, E18 ----

TEST_CASE("A05: a loop without end times out, is interrupted, and its worker takes new work") {
  const Running running({.num_workers = 1});
  auto endless = PythonExecutor::submit_timeout([] { return execute("while True: pass"); },
                                                std::uint64_t{50'000'000});
  CHECK(code_of(endless) == Errc::timeout);
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
  CHECK(PythonExecutor::get_stats().timed_out == 1);
}

TEST_CASE("A05: what has not begun by its deadline never runs") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  bool ran = false;
  auto late = PythonExecutor::submit([&] { ran = true; }, {.timeout = 10ms});
  CHECK(code_of(late) == Errc::timeout);
  auto at_once = PythonExecutor::submit_timeout([&] { ran = true; }, 0);
  CHECK(at_once.is_ready());
  CHECK(code_of(at_once) == Errc::timeout);
  gate.let_go();
  CHECK(code_of(first) == Errc::ok);
  CHECK_FALSE(ran);
  CHECK(PythonExecutor::get_stats().timed_out == 2);
}

TEST_CASE("A05: what was ended in the queue is gone, however long the workers are busy") {
  const Running running({.num_workers = 1, .queue_size = 10});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  const auto held = std::make_shared<int>(7);
  const auto task = [held] { return *held; };
  const auto waiting = PythonExecutor::submit(task);
  for (int turn = 0; turn < 20'000; ++turn) {
    auto cancelled = PythonExecutor::submit(task);
    REQUIRE(cancelled.cancel());
  }
  CHECK(held.use_count() < 3000);
  std::vector<future<int>> late;
  for (int turn = 0; turn < 20'000; ++turn) {
    late.push_back(PythonExecutor::submit(task, {.timeout = 1ns}));
    if (turn % 5 == 4) {
      for (auto& outcome : late) REQUIRE(code_of(outcome) == Errc::timeout);
      late.clear();
    }
  }
  CHECK(held.use_count() < 3000);
  gate.let_go();
  CHECK(first.get().ok());
  auto last = PythonExecutor::submit(task);
  CHECK(*last.get() == 7);
}

TEST_CASE("A05: a deadline beyond the end of time is none") {
  const Running running;
  auto outcome =
      PythonExecutor::submit_timeout([] { return 1; }, std::numeric_limits<std::uint64_t>::max());
  CHECK(*outcome.get() == 1);
}

namespace {

const char* const endless = "while True: pass";

// As errors write it.
std::string written(Duration timeout) {
  return timeout < 1s ? fmt::format("{}ms", timeout / 1ms) : fmt::format("{}s", timeout / 1s);
}

template <class T>
std::string message_of(const Result<T>& outcome) {
  REQUIRE_FALSE(outcome.ok());
  CHECK(outcome.error().code == Errc::timeout);
  return outcome.error().message;
}

}  // namespace

TEST_CASE("A05: a timeout says what it ended, after how long, and whether that had begun") {
  const Running running({.num_workers = 1});
  const auto text = [](auto task) {
    const auto error = task.get().error();
    CHECK(error.code == Errc::timeout);
    const std::string number = fmt::format("task {}: ", static_cast<std::uint64_t>(task.id()));
    CHECK_MESSAGE(error.message.starts_with(number), error.message);
    return error.message.substr(number.size());
  };
  until_begun_in_time([&](Duration timeout) {
    const std::string said =
        text(PythonExecutor::submit([] { return execute(endless); }, {.timeout = timeout}));
    return said == "still running, when its timeout of " + written(timeout) + " was over";
  });
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  CHECK(text(PythonExecutor::submit([] { return 1; }, {.timeout = 1500us})) ==
        "still waiting in the queue, not begun, when its timeout of 1500us was over");
  CHECK(text(PythonExecutor::submit_timeout([] { return 1; }, 0)) ==
        "a timeout of 0s left it no time to begin");
  CHECK(text(PythonExecutor::submit([] { return 1; }, {.timeout = -1s})) ==
        "a timeout of 0s left it no time to begin");
  gate.let_go();
  CHECK(code_of(first) == Errc::ok);
}

TEST_CASE("A05: a timeout of a call names the call, and its context") {
  const Running running({.num_workers = 2});
  auto context = PythonExecutor::bind({.name = "cart"});
  REQUIRE(context.ok());
  const auto check = [](const auto& ended_by, const char* name) {
    until_begun_in_time([&](Duration timeout) {
      const std::string said = message_of(ended_by(timeout));
      CHECK_MESSAGE(said.starts_with(name), said);
      return said.ends_with(": still running, when its timeout of " + written(timeout) +
                            " was over");
    });
  };
  const Args forever{endless, Object{}};
  const auto call = [&](Duration timeout) {
    return PythonExecutor::call("builtins", "exec", forever, {}, {.timeout = timeout});
  };
  const auto async_call = [&](Duration timeout) {
    return PythonExecutor::async_call("builtins", "exec", forever, {}, {.timeout = timeout}).get();
  };
  const auto exec = [&](Duration timeout) { return context->exec(endless, {.timeout = timeout}); };
  check(call, "call() of builtins.exec, task ");
  check(async_call, "async_call() of builtins.exec, task ");
  check(exec, "exec() in context 'cart', task ");
}

TEST_CASE("A05: a timeout of many calls says of each whether it had begun") {
  const Running running({.num_workers = 2, .num_subinterp_workers = 1});
  const std::vector<CallSpec> calls(2, CallSpec{"builtins", "exec", {endless, Object{}}});
  const auto check = [&](const auto& ended_by, const char* name, const char* begun) {
    until_begun_in_time([&](Duration timeout) {
      const auto outcomes = ended_by(timeout).get();
      REQUIRE(outcomes.ok());
      const std::string over =
          fmt::format("{} had a timeout of {}, which was over", name, written(timeout));
      CHECK(message_of(outcomes->at(1)) == "it had not begun: " + over);
      return message_of(outcomes->at(0)) == begun + over;
    });
  };
  const auto gather = [&](Duration timeout) {
    return PythonExecutor::gather(calls, {.timeout = timeout, .limit = 1});
  };
  const auto parallel = [&](Duration timeout) {
    return PythonExecutor::parallel(calls,
                                    {.timeout = timeout, .mode = ExecutionMode::multi_executor});
  };
  check(gather, "gather()", "it was running: ");
  check(parallel, "parallel()", "it was under way: ");
}

TEST_CASE("A05: a timeout of a stream names it, and how far it came") {
  const Running running({.num_workers = 1});
  const SystemClock clock;
  EventLoop loop(clock);
  const auto count = [](Duration timeout) -> Task<Result<void>> {
    Stream stream = PythonExecutor::stream("itertools", "count", {}, {}, {.timeout = timeout});
    co_return co_await stream.for_each([](const Value&) {});
  };
  until_begun_in_time([&](Duration timeout) {
    const auto counted = run_task(loop, count(timeout));
    REQUIRE_FALSE(counted.ok());
    return counted.error().message.starts_with(
        "stream() of itertools.count: still running, when its timeout of " + written(timeout) +
        " was over; it had ");
  });
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  CHECK(run_task(loop, count(10ms)).error().message ==
        "stream() of itertools.count: still waiting in the queue, not begun, when its timeout of "
        "10ms was over");
  gate.let_go();
}

TEST_CASE("A05: who blocks for a place in the queue has one timeout for that and for all") {
  const Running running({.num_workers = 1, .queue_size = 1, .overflow = Overflow::block});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  auto waiting = PythonExecutor::submit([] { return 1; });
  const auto late = PythonExecutor::submit([] { return 2; }, {.timeout = 10ms}).get();
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().code == Errc::timeout);
  CHECK_MESSAGE(late.error().message.ends_with(": still waiting for a place in the queue, not "
                                               "begun, when its timeout of 10ms was over"),
                late.error().message);
  CHECK(PythonExecutor::get_stats().timed_out == 1);
  gate.let_go();
  CHECK(*waiting.get() == 1);
  CHECK(first.get().ok());
  CHECK(PythonExecutor::shutdown() == 0);
  const Stats stats = PythonExecutor::get_stats();
  CHECK(stats.submitted == stats.tasks_executed + stats.timed_out);
}

TEST_CASE("A05: a worker that is stuck in C is given up, and another takes its place") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto stuck = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  CHECK(stuck.cancel());
  CHECK(code_of(stuck) == Errc::cancelled);
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
  CHECK(PythonExecutor::get_stats().stuck == 1);
  gate.let_go();
}

TEST_CASE("A18: cancelling what waits keeps it from running, and what has ended stands") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  bool ran = false;
  auto waiting = PythonExecutor::submit([&] { ran = true; });
  CHECK(waiting.cancel());
  CHECK(code_of(waiting) == Errc::cancelled);
  gate.let_go();
  CHECK(code_of(first) == Errc::ok);
  auto ended = PythonExecutor::submit([] { return 1; });
  REQUIRE(ended.wait_for(patience));
  CHECK_FALSE(ended.cancel());
  CHECK(*ended.get() == 1);
  CHECK_FALSE(ran);
}

TEST_CASE("A18: what swallows an interruption is asked again, and finally runs") {
  const Running running({.num_workers = 1});
  std::array<int, 2> pipe{};
  REQUIRE(::pipe(pipe.data()) == 0);
  const std::string text = fmt::format(
      "import os, sys\n"
      "sys.asked = 0\n"
      "try:\n"
      "    while sys.asked < 2:\n"
      "        try:\n"
      "            if sys.asked == 0: os.write({}, b'x')\n"
      "            while True: pass\n"
      "        except BaseException: sys.asked += 1\n"
      "finally: sys.asked += 10\n",
      pipe[1]);
  auto code = PythonExecutor::submit([&] { return execute(text.c_str()); });
  char began = 0;
  REQUIRE(::read(pipe[0], &began, 1) == 1);
  CHECK(code.cancel());
  CHECK(code_of(code) == Errc::cancelled);
  auto asked = PythonExecutor::submit(
      [] { return PyLong_AsLong(Reference::steal(evaluate("__import__('sys').asked")).get()); });
  CHECK(*asked.get() == 12);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST_CASE(
    "A18: who is cancelled while it serves another task is interrupted once that one is over") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto outer = PythonExecutor::submit([&] {
    auto inner = PythonExecutor::submit(gate.task());
    static_cast<void>(inner.get());
    return execute("while True: pass");
  });
  gate.wait_until_running();
  CHECK(outer.cancel());
  gate.let_go();
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
  CHECK(PythonExecutor::get_stats().stuck == 0);
}

TEST_CASE("A18: Python's import machinery is not struck, which would leave a lock held for ever") {
  const Running running({.num_workers = 2});
  REQUIRE(PythonExecutor::submit([] {
            return execute(
                "import os, sys, tempfile, threading\n"
                "sys.gate, sys.begun = threading.Event(), threading.Event()\n"
                "sys.folder = tempfile.TemporaryDirectory()\n"
                "with open(sys.folder.name + '/imported_slowly.py', 'w') as module:\n"
                "    module.write('import sys; sys.begun.set(); sys.gate.wait()')\n"
                "sys.path.insert(0, sys.folder.name)\n");
          })
              .get()
              .ok());
  auto first = PythonExecutor::submit([] { return execute("import imported_slowly"); });
  auto second = PythonExecutor::submit([] {
    return execute(
        "import sys, traceback\n"
        "sys.begun.wait()\n"
        "sys.waiting, sys.struck_in = sys._getframe(), None\n"
        "import threading; sys.second = threading.get_ident()\n"
        "try:\n"
        "    import imported_slowly\n"
        "    while True: pass\n"
        "except BaseException as struck:\n"
        "    *_, (frame, _) = traceback.walk_tb(struck.__traceback__)\n"
        "    sys.struck_in = frame.f_code.co_filename\n"
        "    raise\n");
  });
  // Until the second waits for the first to have imported it.
  const auto waits = [] {
    const Reference frame = Reference::steal(
        evaluate("'importlib' in __import__('sys')._current_frames().get("
                 "getattr(__import__('sys'), 'second', 0), __import__('sys')._getframe())"
                 ".f_code.co_filename"));
    return frame && PyObject_IsTrue(frame.get()) == 1;
  };
  for (bool found = false; !found;) {
    {
      const GILGuard guard;
      found = waits();
    }
    std::this_thread::yield();
  }
  CHECK(PythonExecutor::interrupt(second.id()));
  {
    const GILGuard guard;
    REQUIRE(Reference::steal(execute("import sys; sys.gate.set()")));
  }
  CHECK(code_of(first) == Errc::ok);
  CHECK(code_of(second) == Errc::interrupted);
  const GILGuard guard;
  CHECK(PyObject_IsTrue(
            Reference::steal(evaluate("__import__('sys').struck_in == '<string>'")).get()) == 1);
  CHECK(Reference::steal(execute("import sys; sys.folder.cleanup()")));
}

TEST_CASE("A18: an interruption that a __del__ would lose comes after it") {
  const Running running({.num_workers = 1});
  auto finalizes = PythonExecutor::submit([] {
    return execute(
        "import sys, threading, time\n"
        "sys.begun, sys.gate = threading.Event(), threading.Event()\n"
        "class Finalized:\n"
        "    def __del__(self):\n"
        "        sys.begun.set()\n"
        "        sys.gate.wait()\n"
        "        sys.finalized = True\n"
        "Finalized()\n"
        "end = time.monotonic() + 60\n"
        "while time.monotonic() < end: pass\n");
  });
  const auto has_begun = [] {
    const GILGuard guard;
    const Reference begun = Reference::steal(
        evaluate("hasattr(__import__('sys'), 'begun') and __import__('sys').begun.is_set()"));
    return begun && PyObject_IsTrue(begun.get()) == 1;
  };
  while (!has_begun()) std::this_thread::yield();
  CHECK(PythonExecutor::interrupt(finalizes.id()));
  {
    const GILGuard guard;
    REQUIRE(Reference::steal(execute("import sys; sys.gate.set()")));
  }
  CHECK(code_of(finalizes) == Errc::interrupted);
  const GILGuard guard;
  CHECK(Reference::steal(execute("import sys; sys.finalized, sys.begun, sys.gate")));
}

TEST_CASE("A18: interruptions at any moment strike their own task or nobody") {
  const Running running({.num_workers = 2});
  for (int turn = 0; turn < 2000; ++turn) {
    auto aimed = PythonExecutor::submit([] { return evaluate("sum(range(50))"); });
    auto innocent = PythonExecutor::submit([] { return evaluate("sum(range(50))"); });
    aimed.cancel();
    REQUIRE(code_of(innocent) == Errc::ok);
    const Errc code = code_of(aimed);
    REQUIRE((code == Errc::ok || code == Errc::cancelled));
  }
}

TEST_CASE("A18: 10,000 interruptions strike the task that they name or nobody, and none twice") {
  const Running running({.num_workers = 2});
  std::atomic<std::uint64_t> named{0};
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> struck{0};
  std::thread other([&] {  // Names what runs, what waits and what has ended, as it comes.
    while (!over) {
      const std::uint64_t name = named;
      if (name != 0 && PythonExecutor::interrupt(TaskId{name})) ++struck;
    }
  });
  // It lets go of the GIL now and then, or nobody could name it in its midst.
  const auto nap = [] { return evaluate("[__import__('time').sleep(0) for turn in range(2)]"); };
  std::uint64_t interrupted = 0;
  const Instant end = SystemClock().now() + patience;
  while (interrupted < 10'000 && SystemClock().now() < end) {
    auto aimed = PythonExecutor::submit(nap);
    auto innocent = PythonExecutor::submit(nap);
    named = static_cast<std::uint64_t>(aimed.id());
    REQUIRE(code_of(innocent) == Errc::ok);
    const Errc code = code_of(aimed);
    REQUIRE((code == Errc::ok || code == Errc::interrupted));
    if (code == Errc::interrupted) ++interrupted;
    REQUIRE_FALSE(PythonExecutor::interrupt(aimed.id()));  // It has ended.
  }
  over = true;
  other.join();
  CHECK(interrupted <= struck);
  CHECK(interrupted > 0);
  CHECK(PythonExecutor::get_stats().tasks_failed == interrupted);
}

TEST_CASE("A18: what waits, has ended, or never was is not interrupted, nor is what comes next") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  auto waiting = PythonExecutor::submit([] { return evaluate("sum(range(1000))"); });
  const TaskId late = waiting.id();
  CHECK_FALSE(PythonExecutor::interrupt(late));
  CHECK_FALSE(PythonExecutor::interrupt(TaskId{0}));
  CHECK_FALSE(PythonExecutor::interrupt(TaskId{~0ULL}));
  gate.let_go();
  CHECK(code_of(waiting) == Errc::ok);
  CHECK_FALSE(PythonExecutor::interrupt(late));
  auto next = PythonExecutor::submit([] { return evaluate("sum(range(1000))"); });
  CHECK(code_of(next) == Errc::ok);
  CHECK(first.get().ok());
}

TEST_CASE("A18: an interruption is a KeyboardInterrupt too where that is asked for") {
  const auto caught_as = [] {
    std::latch inside{1};
    const auto begun = PythonExecutor::register_function("begun", [&] { inside.count_down(); });
    auto outcome = PythonExecutor::submit([] {
      return execute(
          "import sys, unirun\n"
          "sys.caught = None\n"
          "try:\n"
          "    unirun.call('begun')\n"
          "    while True: pass\n"
          "except KeyboardInterrupt as error:\n"
          "    sys.caught = 'KeyboardInterrupt', isinstance(error, unirun.Interrupted)\n"
          "    raise\n"
          "except unirun.Interrupted as error:\n"
          "    sys.caught = 'Interrupted', type(error) is unirun.Interrupted\n"
          "    raise\n");
    });
    inside.wait();
    while (!PythonExecutor::interrupt(outcome.id())) std::this_thread::yield();
    CHECK(code_of(outcome) == Errc::interrupted);
    auto next = PythonExecutor::submit([] { return evaluate("sum(range(1000))"); });
    CHECK(code_of(next) == Errc::ok);
    return *PythonExecutor::call("sys", "caught.__getitem__", {0}) == Value("KeyboardInterrupt") &&
           *PythonExecutor::call("sys", "caught.__getitem__", {1}) == Value(true);
  };
  {
    const Running running({.num_workers = 1, .keyboard_interrupt = true});
    CHECK(caught_as());
  }
  const Running running({.num_workers = 1});
  CHECK_FALSE(caught_as());
  CHECK(*PythonExecutor::call("sys", "caught.__getitem__", {0}) == Value("Interrupted"));
  CHECK(*PythonExecutor::call("sys", "caught.__getitem__", {1}) == Value(true));
}

// ---- E16, E19 ----

TEST_CASE("A16: statistics add up in every snapshot under load") {
  const Running running({.num_workers = 2, .queue_size = 200});
  std::atomic<bool> over{false};
  std::vector<std::thread> producers;
  for (int producer = 0; producer < 2; ++producer) {
    producers.emplace_back([&] {
      for (int turn = 0; !over; ++turn) {
        auto one = PythonExecutor::submit(
            [turn] { return turn % 3 == 0 ? execute("raise ValueError") : PyLong_FromLong(1); });
        if (turn % 5 == 0) one.cancel();
      }
    });
  }
  for (int snapshot = 0; snapshot < 10000; ++snapshot) {
    const Stats stats = PythonExecutor::get_stats();
    REQUIRE(stats.submitted == stats.tasks_executed + stats.tasks_failed + stats.cancelled +
                                   stats.timed_out + stats.rejected + stats.tasks_queued +
                                   stats.running);
    REQUIRE(stats.running <= 2);
  }
  over = true;
  for (auto& producer : producers) producer.join();
  REQUIRE(PythonExecutor::shutdown() == 0);
  const Stats stats = PythonExecutor::get_stats();
  CHECK(stats.tasks_queued + stats.running == 0);
}

TEST_CASE("A16: who submits while one executor ends and the next begins counts for one or none") {
  constexpr std::size_t submitters = 4;
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < submitters; ++thread) {
    threads.emplace_back([&over, thread] {
      while (!over) {
        auto one = PythonExecutor::submit([] { return 1; });
        if (thread % 2 == 0) one.cancel();
        static_cast<void>(one.get());
      }
    });
  }
  for (int life = 0; life < 300; ++life) {
    const Running running({.num_workers = 2});
    const Stats stats = PythonExecutor::get_stats();  // Of more than one moment.
    CHECK(stats.tasks_queued <= stats.submitted);
    CHECK(PythonExecutor::shutdown() == 0);
    CHECK(PythonExecutor::get_stats().tasks_queued <= submitters);
  }
  over = true;
  for (auto& thread : threads) thread.join();
}

TEST_CASE("A19: the hundred and first of a hundred places is refused at once") {
  const Running running({.num_workers = 1, .queue_size = 100});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  std::vector<future<int>> futures;
  for (int task = 0; task < 100; ++task)
    futures.push_back(PythonExecutor::submit([] { return 1; }));
  auto refused = PythonExecutor::submit([] { return 1; });
  CHECK(refused.is_ready());
  CHECK(code_of(refused) == Errc::queue_full);
  CHECK(PythonExecutor::get_stats().rejected == 1);
  futures.front().cancel();
  auto fits = PythonExecutor::submit([] { return 1; });
  gate.let_go();
  CHECK(*fits.get() == 1);
}

TEST_CASE("A19: who blocks on a full queue is served in the order of coming") {
  const Running running({.num_workers = 1, .queue_size = 1, .overflow = Overflow::block});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  auto waiting = PythonExecutor::submit([] { return 0; });
  std::thread blocked([] { CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1); });
  gate.let_go();
  blocked.join();
  CHECK(*waiting.get() == 0);
}

TEST_CASE("A19: on a loop nothing blocks on a full queue") {
  const Running running({.num_workers = 1, .queue_size = 1, .overflow = Overflow::block});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  auto waiting = PythonExecutor::submit([] { return 0; });
  const SystemClock clock;
  EventLoop loop(clock);
  Errc code = Errc::ok;
  loop.post([&] {
    auto refused = PythonExecutor::submit([] { return 1; });
    code = code_of(refused);
    loop.stop();
  });
  loop.run();
  CHECK(code == Errc::unsupported);
  gate.let_go();
  CHECK(*waiting.get() == 0);
}

TEST_CASE("A19: the oldest makes room where that is wanted") {
  const Running running({.num_workers = 1, .queue_size = 2, .overflow = Overflow::drop_oldest});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  auto one = PythonExecutor::submit([] { return 1; });
  auto two = PythonExecutor::submit([] { return 2; });
  auto three = PythonExecutor::submit([] { return 3; });
  CHECK(code_of(one) == Errc::queue_full);
  gate.let_go();
  CHECK(*two.get() == 2);
  CHECK(*three.get() == 3);
}

TEST_CASE("A19: the more urgent goes first, and the least urgent has its turn") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  std::vector<int> order;
  std::vector<future<void>> futures;
  futures.push_back(PythonExecutor::submit([&] { order.push_back(3); }, {.priority = 3}));
  for (int task = 0; task < 200; ++task)
    futures.push_back(PythonExecutor::submit([&] { order.push_back(0); }, {.priority = 0}));
  gate.let_go();
  for (auto& outcome : futures) CHECK(code_of(outcome) == Errc::ok);
  CHECK(order.front() == 0);
  CHECK(order.back() == 0);
}

TEST_CASE("A19: under a stream of the most urgent each lower priority has its turn") {
  const Running running({.num_workers = 1});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  constexpr std::size_t urgent = 1000;
  std::vector<std::uint8_t> order;
  std::vector<future<void>> futures;
  const auto submit = [&](std::uint8_t priority) {
    futures.push_back(PythonExecutor::submit([&order, priority] { order.push_back(priority); },
                                             {.priority = priority}));
  };
  for (std::uint8_t priority = 1; priority < 4; ++priority) {
    for (int task = 0; task < 3; ++task) submit(priority);
  }
  for (std::size_t task = 0; task < urgent; ++task) submit(0);
  gate.let_go();
  for (auto& outcome : futures) CHECK(code_of(outcome) == Errc::ok);
  for (std::uint8_t priority = 1; priority < 4; ++priority) {
    // Passed over 64 times, and then by each of the others once, before each of the three.
    const auto last = std::find(order.rbegin(), order.rend(), priority);
    CHECK(order.rend() - last <= 3 * (64 + 3));
  }
}

TEST_CASE("A19: a worker does not wait for a place that only a worker can clear") {
  const Running running({.num_workers = 1, .queue_size = 1, .overflow = Overflow::block});
  const auto codes = PythonExecutor::submit([] {
                       std::vector<Errc> seen;
                       auto waiting = PythonExecutor::submit([] { return 0; });
                       auto refused = PythonExecutor::submit([] { return 1; });
                       return std::pair{code_of(refused), waiting.is_ready()};
                     }).get();
  REQUIRE(codes.ok());
  CHECK(codes->first == Errc::queue_full);
  CHECK_FALSE(codes->second);
}

TEST_CASE("A19: the executor's limiter holds what tasks of its own use at once, by name") {
  const Running running({.num_workers = 4});
  const Limiter limiter =
      PythonExecutor::limiter("A19 tasks", {.max_concurrent = 2, .max_queue = 100});
  std::atomic<int> at_once{0};
  std::atomic<int> most{0};
  std::vector<future<void>> futures;
  for (int task = 0; task < 100; ++task) {
    futures.push_back(PythonExecutor::submit([&] {
      const GILRelease released;
      const auto permit =
          PythonExecutor::limiter("A19 tasks", {.max_concurrent = 2, .max_queue = 100}).acquire();
      const int now = ++at_once;
      for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
      std::this_thread::yield();
      --at_once;
    }));
  }
  for (auto& outcome : futures) CHECK(code_of(outcome) == Errc::ok);
  CHECK(most <= 2);
  CHECK(limiter.figures().granted == 100);
  CHECK(limiter.figures().held == 0);
}

// ---- E25 ----

TEST_CASE("A25: workers stay on the CPUs that they were given, as is read back") {
  const int last = usable_cpus().back();
  const Running running({.num_workers = 2, .pin = {usable_cpus().front(), last}});
  const Stats stats = PythonExecutor::get_stats();
  REQUIRE(stats.per_worker.size() == 2);
  CHECK(stats.per_worker[0].cpu == usable_cpus().front());
  CHECK(stats.per_worker[1].cpu == last);
  for (int task = 0; task < 10; ++task) {
    const auto stays = PythonExecutor::submit([] {
                         cpu_set_t set;
                         CPU_ZERO(&set);
                         ::pthread_getaffinity_np(::pthread_self(), sizeof set, &set);
                         return CPU_COUNT(&set) == 1 && CPU_ISSET(::sched_getcpu(), &set);
                       }).get();
    CHECK(*stays);
  }
}

TEST_CASE("A25: a CPU that there is not is named, beside those there are, and nothing is left") {
  for (const int cpu : {-1, 1023, 1'000'000}) {
    const auto started =
        PythonExecutor::start({.num_workers = 2, .pin = {usable_cpus().front(), cpu}});
    REQUIRE_FALSE(started.ok());
    CHECK(started.error().code == Errc::unsupported);
    const std::string& message = started.error().message;
    CHECK_MESSAGE(message.find("CPU " + std::to_string(cpu) + ":") != std::string::npos, message);
    CHECK_MESSAGE(message.ends_with(std::to_string(usable_cpus().back())), message);
    CHECK_FALSE(PythonExecutor::is_initialized());
  }
  {
    const GILGuard guard;  // A worker that has begun waits for it.
    const auto started =
        PythonExecutor::start({.num_workers = 2, .pin = {usable_cpus().front(), -1}});
    REQUIRE_FALSE(started.ok());
    CHECK_MESSAGE(started.error().message.find("CPU -1:") != std::string::npos,
                  started.error().message);
  }
  const Running running;
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
}

TEST_CASE("A25: memory by nodes is applied, or a no-op that says why") {
  CHECK(PythonExecutor::numa_report().reason.find("not running") != std::string::npos);
  const Running running({.num_workers = 1, .pin = {usable_cpus().front()}});
  const NumaReport report = PythonExecutor::numa_report();
  CHECK_FALSE(report.reason.empty());
  if (report.nodes.size() <= 1) {
    CHECK_FALSE(report.is_applied);
    CHECK(report.reason == "no-op, one node");
  } else {
    CHECK(report.is_applied != report.reason.starts_with("no-op"));
  }
}

TEST_CASE("A25: nodes are read as the kernel shows them") {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / fmt::format("unirun-nodes-{}", ::getpid());
  const auto write = [&](const std::string& file, const std::string& text) {
    fs::create_directories((folder / file).parent_path());
    std::ofstream(folder / file) << text << '\n';
  };
  write("has_cpu", "0,2");
  write("node0/cpulist", "0-3,8");
  write("node2/cpulist", "4-7");
  const NumaNodes nodes = NumaNodes::read(folder.string());
  CHECK(nodes.ids() == std::vector{0, 2});
  CHECK(nodes.node_of(8) == 0);
  CHECK(nodes.node_of(5) == 2);
  CHECK_FALSE(nodes.node_of(9).has_value());
  fs::remove_all(folder);
  CHECK(NumaNodes::read(folder.string()).ids().empty());
  CHECK(numbers_in("0-2,5,7-8") == std::vector{0, 1, 2, 5, 7, 8});
  CHECK(numbers_in("").empty());
}

TEST_CASE("A25: 1,000 long tasks that one worker submits are shared out within a tenth of even") {
  const Running running({.num_workers = 2});
  // Long: each goes on until one on the other worker does.
  const auto pair = std::make_shared<std::barrier<>>(2);
  auto futures = PythonExecutor::submit([pair] {
                   std::vector<future<void>> made;
                   for (int task = 0; task < 1000; ++task) {
                     made.push_back(PythonExecutor::submit([pair] {
                       const GILRelease released;
                       pair->arrive_and_wait();
                     }));
                   }
                   return made;
                 }).get();
  REQUIRE(futures.ok());
  for (auto& outcome : *futures) REQUIRE(outcome.wait_for(patience));
  REQUIRE(PythonExecutor::shutdown({.drain = patience}).ok());
  const Stats stats = PythonExecutor::get_stats();
  REQUIRE(stats.per_worker.size() == 2);
  for (const WorkerStats& worker : stats.per_worker) {
    CHECK(worker.executed >= 450);
    CHECK(worker.executed <= 551);
  }
}

TEST_CASE("A25: what is bound to a context is never taken by another worker") {
  const Running running({.num_workers = 2});
  auto context = PythonExecutor::bind();
  REQUIRE(context.ok());
  std::vector<future<std::int64_t>> futures;
  for (int task = 0; task < 200; ++task) {
    futures.push_back(
        PythonExecutor::submit([] { return static_cast<std::int64_t>(::syscall(SYS_gettid)); },
                               {.context = context->id()}));
  }
  for (auto& outcome : futures)
    CHECK(*outcome.get() == static_cast<std::int64_t>(context->thread_id()));
}

TEST_CASE("A25: a batch wakes a worker once, which asks for the GIL once, and runs in order") {
  const Running running({.num_workers = 1});
  CHECK(*PythonExecutor::submit([] { return 1; }).get() == 1);
  std::vector<int> order;
  for (int round = 0; round < 3; ++round) {  // Too few for a worker to let go in between.
    order.clear();
    std::vector<std::function<void()>> functions;
    for (int task = 0; task < 64; ++task)
      functions.emplace_back([&order, task] { order.push_back(task); });
    const std::uint64_t before = PythonExecutor::get_stats().gil_wait.count();
    auto futures = PythonExecutor::submit_batch(std::span(functions));
    REQUIRE(futures.size() == 64);
    for (auto& outcome : futures) REQUIRE(code_of(outcome) == Errc::ok);
    CHECK(PythonExecutor::get_stats().gil_wait.count() <= before + 1);
    CHECK(std::ranges::is_sorted(order));
    CHECK(order.size() == 64);
  }
  std::vector<std::function<int()>> none;
  CHECK(PythonExecutor::submit_batch(std::span(none)).empty());
}

TEST_CASE("A25: of a batch that does not fit, what fits is taken and the rest is refused") {
  const Running running({.num_workers = 1, .queue_size = 10});
  Gated gate;
  auto first = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  std::vector<std::function<int()>> functions(64, [] { return 1; });
  auto futures = PythonExecutor::submit_batch(std::span(functions));
  const auto refused =
      std::ranges::count_if(futures, [](auto& outcome) { return outcome.is_ready(); });
  CHECK(refused == 54);
  gate.let_go();
  for (std::size_t at = 0; at < 10; ++at) CHECK(*futures[at].get() == 1);
  CHECK(code_of(futures.back()) == Errc::queue_full);
  const Stats stats = PythonExecutor::get_stats();
  CHECK(stats.submitted == 65);
  CHECK(stats.rejected == 54);
  REQUIRE(PythonExecutor::shutdown() == 0);
  std::vector<std::function<int()>> late(3, [] { return 1; });
  for (auto& outcome : PythonExecutor::submit_batch(std::span(late)))
    CHECK(code_of(outcome) == Errc::not_initialized);
}

}  // namespace unirun::python
