// E15 of the contract, and what of E04 to E14 is different where workers have interpreters of their
// own.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "executors/python/python_executor.h"
#include "executors/python/tasks/worker_pool.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/executor_fixture.h"
#include "tests/python_executor/module_folder.h"

namespace unirun::python {
namespace {

// A folder with modules, and a page that calls share, wherever they run.
class Workshop {
 public:
  Workshop() {
    modules_.add("workshop", R"(
import mmap, os, threading, time

def meet(path, me, patience):
    """Whether the other one came while this one, which never lets go of its GIL, was there."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as page:
        page[me] = 1
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if page[1 - me]:
                return True
        return False

def echo(value):
    return value

async def echo_later(value):
    import asyncio
    await asyncio.sleep(0)
    return value

def spin():
    while True:
        pass

def count(n):
    for i in range(n):
        yield i

async def count_later(n):
    for i in range(n):
        yield i

def pid():
    return os.getpid()

def call_host(name, *args):
    import unirun
    return unirun.call(name, *args)

def words_of_failure(name):
    from unirun import functions
    try:
        getattr(functions, name)()
    except Exception as error:
        return [type(error).__name__, str(error)]

def wrong_echoes(threads, each, base):
    import unirun
    wrong = []
    def run(k):
        for n in range(base + k * each, base + (k + 1) * each):
            if unirun.call("interp_echo", n) != n:
                wrong.append(n)
    all = [threading.Thread(target=run, args=(k,)) for k in range(threads)]
    for one in all: one.start()
    for one in all: one.join()
    return len(wrong)

def increment_all(prefix, n):
    from unirun import state
    for i in range(n):
        state.incr(prefix + str(i))

def wrong_counters(prefix, n, expected):
    from unirun import state
    return sum(state.counter(prefix + str(i)).value != expected for i in range(n))
)");
    modules_.add("refuser", "import faulthandler, os\npid = os.getpid\n");
    modules_.add("crasher", R"(
import os
try:
    from _interpreters import get_current
    here = get_current()[0]
except ImportError:
    from _xxsubinterpreters import get_current
    here = int(get_current())
if here != 0:
    os.abort()
)");
  }

  [[nodiscard]] const std::string& folder() const { return modules_.path(); }
  // A fresh one.
  [[nodiscard]] std::string page() {
    const std::string path = folder() + "/page" + std::to_string(++pages_);
    std::ofstream(path) << std::string(64, '\0');
    return path;
  }

 private:
  ModuleFolder modules_;
  int pages_ = 0;
};

struct InWorkshop {
  Workshop workshop;
  Running running;

  explicit InWorkshop(PythonExecutor::Config config = {.num_workers = 2})
      : running(with(std::move(config))) {}

 private:
  PythonExecutor::Config with(PythonExecutor::Config config) const {
    config.sys_path.push_back(workshop.folder());
    return config;
  }
};

CallSpec call(std::string function, Args args = {}) {
  return {
      .module = "workshop", .function = std::move(function), .args = std::move(args), .kwargs = {}};
}

std::vector<Result<Value>> outcomes_of(const std::vector<CallSpec>& calls,
                                       const ParallelOptions& options) {
  auto outcome = PythonExecutor::parallel(calls, options);
  REQUIRE(outcome.wait_for(patience));
  auto result = outcome.get();
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message));
  return *std::move(result);
}

// How many of two calls saw the other, neither of which lets go of its GIL nor is made to.
int meetings(Workshop& workshop, const ParallelOptions& options, double seconds) {
  const std::string page = workshop.page();
  int met = 0;
  for (const auto& outcome :
       outcomes_of({call("meet", {page, 0, seconds}), call("meet", {page, 1, seconds})}, options)) {
    REQUIRE_MESSAGE(outcome.ok(), (outcome.ok() ? "" : outcome.error().message));
    met += outcome->as_bool() ? 1 : 0;
  }
  return met;
}

#if PY_VERSION_HEX >= 0x030e0000
constexpr bool has_own_gil = true;
constexpr bool is_sound = true;
#elif PY_VERSION_HEX >= 0x030c0000
constexpr bool has_own_gil = true;
constexpr bool is_sound = false;
#else
constexpr bool has_own_gil = false;
constexpr bool is_sound = false;
#endif
#ifdef Py_GIL_DISABLED
constexpr bool is_free_threaded = true;
#else
constexpr bool is_free_threaded = false;
#endif

constexpr auto for_ever = std::chrono::hours(1);
constexpr double generous = 100;  // Seconds.

TEST_CASE("A15: for this Python, mode, reason and what is really parallel agree") {
  struct Row {
    ExecutionMode wanted;
    bool consent;
    ExecutionMode mode;  // automatic: it is refused.
    std::string in_reason;
  };
  const ExecutionMode automatic = ExecutionMode::automatic;
  const ExecutionMode shared = ExecutionMode::multi_executor;
  const ExecutionMode own = ExecutionMode::subinterp;
  std::vector<Row> rows{{ExecutionMode::process, false, ExecutionMode::process, "Config::mode"},
                        {shared, false, shared, "Config::mode"}};
  if (is_free_threaded) {
    rows.push_back({automatic, true, shared, "has its GIL on"});
    rows.push_back({own, true, automatic, "has its GIL on"});
  } else {
    rows.push_back({automatic, false, is_sound ? own : shared,
                    has_own_gil ? (is_sound ? "sound" : "corrupt the heap") : "3.12 has"});
    rows.push_back({automatic, true, has_own_gil ? own : shared,
                    has_own_gil ? (is_sound ? "sound" : "allow_unsafe") : "3.12 has"});
    rows.push_back({own, true, has_own_gil ? own : automatic,
                    has_own_gil ? (is_sound ? "sound" : "allow_unsafe") : "3.12 has"});
  }
  rows.push_back({ExecutionMode::free_threaded, false, automatic, "the GIL is on"});
  for (const Row& row : rows) {
    CAPTURE(to_string(row.wanted));
    CAPTURE(row.consent);
    PythonExecutor::Config config{.num_workers = 2, .switch_interval = for_ever};
    config.mode = row.wanted;
    config.allow_unsafe_subinterpreters = row.consent;
    if (row.mode == automatic) {
      const auto refused = PythonExecutor::start(config);
      REQUIRE_FALSE(refused.ok());
      CHECK(refused.error().code == Errc::unsupported);
      CHECK(refused.error().message.find(row.in_reason) != std::string::npos);
      continue;
    }
    InWorkshop here(config);
    const ModeReport report = PythonExecutor::execution_mode();
    CHECK(report.mode == row.mode);
    CHECK(report.reason.find(row.in_reason) != std::string::npos);
    CHECK(report.python_version.starts_with(PY_VERSION));
    CHECK(report.gil_enabled);
    CHECK(report.refused_modules.empty());
    // Threads that share a GIL do not meet, which shows that the others do so by what they are.
    CHECK(meetings(here.workshop, {.mode = ExecutionMode::multi_executor}, 0.2) == 1);
    if (WorkerPool::cores() > 1) CHECK(meetings(here.workshop, {}, generous) == 2);
  }
}

TEST_CASE("E15: use_subinterpreters without what it takes is refused by name") {
  if (is_sound && !is_free_threaded) return;
  const auto refused = PythonExecutor::start({.use_subinterpreters = true});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::unsupported);
  CHECK(refused.error().message.find("use_subinterpreters") != std::string::npos);
  CHECK_FALSE(PythonExecutor::is_initialized());
}

#if PY_VERSION_HEX >= 0x030c0000 && !defined(Py_GIL_DISABLED)

constexpr ParallelOptions in_interpreters{.mode = ExecutionMode::subinterp};

PythonExecutor::Config by_consent() {
  return {.num_workers = 2, .allow_unsafe_subinterpreters = true};
}
PythonExecutor::Config own_workers() {
  return {.num_workers = 2, .use_subinterpreters = true, .allow_unsafe_subinterpreters = true};
}

std::int64_t interpreter_here() { return PyInterpreterState_GetID(PyInterpreterState_Get()); }

// ---- Calls in interpreters ----

TEST_CASE("A12: Python threads of interpreters call C++ functions, each has its own answer") {
  const InWorkshop here(by_consent());
  const auto echo =
      PythonExecutor::register_function("interp_echo", [](std::int64_t number) { return number; });
  REQUIRE(echo.ok());
  for (const auto& outcome :
       outcomes_of({call("wrong_echoes", {4, 1000, 0}), call("wrong_echoes", {4, 1000, 1000000}),
                    call("wrong_echoes", {4, 1000, 2000000})},
                   in_interpreters)) {
    REQUIRE_MESSAGE(outcome.ok(), (outcome.ok() ? "" : outcome.error().traceback));
    CHECK(*outcome == Value(0));
  }
}

TEST_CASE(
    "A12: C++ called from an interpreter fails there as Python does, and calls Python there") {
  const InWorkshop here(by_consent());
  const auto fail = PythonExecutor::register_function(
      "interp_fail", []() -> int { throw std::out_of_range("no such row"); });
  const auto again = PythonExecutor::register_function("interp_again", [](std::int64_t number) {
    return PythonExecutor::call("workshop", "echo", {number + 1});
  });
  const auto outcomes = outcomes_of(
      {call("words_of_failure", {"interp_fail"}), call("call_host", {"interp_again", 41})},
      in_interpreters);
  REQUIRE(outcomes[0].ok());
  CHECK(*outcomes[0] == Value(Array{"IndexError", "no such row"}));
  REQUIRE_MESSAGE(outcomes[1].ok(), (outcomes[1].ok() ? "" : outcomes[1].error().traceback));
  CHECK(*outcomes[1] == Value(42));
}

TEST_CASE("A14: two interpreters increment 20,000 fresh keys once each, and each key is two") {
  const InWorkshop here(by_consent());
  const std::string prefix = "interp" + std::to_string(::getpid()) + ".";
  for (const auto& outcome :
       outcomes_of({call("increment_all", {prefix, 20000}), call("increment_all", {prefix, 20000})},
                   in_interpreters))
    REQUIRE_MESSAGE(outcome.ok(), (outcome.ok() ? "" : outcome.error().traceback));
  const auto wrong = outcomes_of({call("wrong_counters", {prefix, 20000, 2})}, in_interpreters);
  REQUIRE(wrong[0].ok());
  CHECK(*wrong[0] == Value(0));
}

TEST_CASE("E15: calls of a module that refuses interpreters run in processes, and it is named") {
  const InWorkshop here(by_consent());
  const CallSpec pid{.module = "refuser", .function = "pid", .args = {}, .kwargs = {}};
  for (int turn = 0; turn < 2; ++turn) {
    const auto outcomes = outcomes_of({pid, call("pid"), pid}, in_interpreters);
    for (const std::size_t at : {std::size_t{0}, std::size_t{2}}) {
      REQUIRE_MESSAGE(outcomes[at].ok(), (outcomes[at].ok() ? "" : outcomes[at].error().message));
      CHECK(*outcomes[at] != Value(::getpid()));
    }
    CHECK(*outcomes[1] == Value(::getpid()));
  }
  const ModeReport report = PythonExecutor::execution_mode();
  CHECK(report.mode == ExecutionMode::subinterp);
  REQUIRE(report.refused_modules.size() == 1);
  CHECK(report.refused_modules[0].module == "refuser");
  CHECK(report.refused_modules[0].why.find("faulthandler") != std::string::npos);
}

TEST_CASE("E15: a module that is nowhere fails its call, and is no refusal") {
  const InWorkshop here(by_consent());
  const auto outcomes = outcomes_of(
      {{.module = "no_such_module", .function = "f", .args = {}, .kwargs = {}}}, in_interpreters);
  CHECK(outcomes[0].error().code == Errc::import_failed);
  CHECK(PythonExecutor::execution_mode().refused_modules.empty());
}

// ---- Workers with interpreters ----

TEST_CASE("E15: a preloaded module that refuses has workers and calls do without interpreters") {
  auto config = own_workers();
  config.preload = {"faulthandler", "json"};
  const InWorkshop here(config);
  const ModeReport report = PythonExecutor::execution_mode();
  CHECK(report.mode == ExecutionMode::multi_executor);
  REQUIRE(report.refused_modules.size() == 1);
  CHECK(report.refused_modules[0].module == "faulthandler");
  CHECK(report.reason.find("faulthandler") != std::string::npos);
  CHECK(*PythonExecutor::submit(interpreter_here).get() == 0);
  CHECK(*outcomes_of({call("pid")}, {})[0] != Value(::getpid()));
}

TEST_CASE("E15: a module that crashes where interpreters are tried takes that process alone") {
  auto config = own_workers();
  config.preload = {"crasher"};
  const InWorkshop here(config);
  const ModeReport report = PythonExecutor::execution_mode();
  CHECK(report.mode == ExecutionMode::multi_executor);
  CHECK(report.reason.find("signal 6") != std::string::npos);
  CHECK(*PythonExecutor::submit(interpreter_here).get() == 0);
}

TEST_CASE("E15: workers with interpreters run tasks in them, beside one another") {
  auto config = own_workers();
  config.preload = {"json"};
  config.switch_interval = for_ever;
  InWorkshop here(config);
  CHECK(PythonExecutor::execution_mode().mode == ExecutionMode::subinterp);
  CHECK(*PythonExecutor::submit(interpreter_here).get() > 0);
  CHECK(*PythonExecutor::call("workshop", "echo", {"text"}) == Value("text"));
  if (WorkerPool::cores() > 1)
    CHECK(meetings(here.workshop, {.mode = ExecutionMode::multi_executor}, generous) == 2);
}

TEST_CASE("E04: then() on an object runs in the object's interpreter, also long after") {
  const InWorkshop here(own_workers());
  const auto is_at_home = [](PyObject* object) {
    return PyLong_AsLongLong(object) == 1000000 + interpreter_here();
  };
  const auto make = [] { return PyLong_FromLongLong(1000000 + interpreter_here()); };
  std::vector<future<bool>> answers;
  for (int i = 0; i < 200; ++i) {
    auto object = PythonExecutor::submit(make);
    if (i % 2 == 0) REQUIRE(object.wait_for(patience));
    answers.push_back(object.then(is_at_home));
  }
  for (auto& answer : answers) CHECK(*answer.get());
}

TEST_CASE("E04: an object of another interpreter is not called") {
  const InWorkshop here(own_workers());
  Ref function;
  {
    const GILGuard guard;
    function = Ref::steal(PyDict_GetItemString(PyEval_GetBuiltins(), "len"));
    Py_INCREF(function.get());
  }
  auto outcome = PythonExecutor::submit(function).get();
  REQUIRE_FALSE(outcome.ok());
  CHECK(outcome.error().message.find("interpreter 0") != std::string::npos);
}

TEST_CASE("A07: contexts live in their worker's interpreter, and their counters end exact") {
  const InWorkshop here(own_workers());
  std::vector<Context> contexts;
  for (int i = 0; i < 8; ++i) {
    auto bound = PythonExecutor::bind({.name = "c" + std::to_string(i), .preload = "n = 0"});
    REQUIRE_MESSAGE(bound.ok(), (bound.ok() ? "" : bound.error().message));
    CHECK(bound->interpreter_id() > 0);
    contexts.push_back(*std::move(bound));
  }
  for (int turn = 0; turn < 20; ++turn) {
    for (Context& context : contexts) REQUIRE(context.exec("n += 1").ok());
  }
  for (Context& context : contexts) CHECK(*context.eval("n") == Value(20));
}

TEST_CASE("A08: coroutines of contexts run in their workers' interpreters, on their threads") {
  const InWorkshop here(own_workers());
  std::vector<Context> contexts;
  for (int i = 0; i < 2; ++i) {
    auto bound = PythonExecutor::bind({.preload = R"(
import asyncio, threading
n = 0
threads = set()
async def add():
    global n
    threads.add(threading.get_native_id())
    await asyncio.sleep(0.001)
    n += 1
    threads.add(threading.get_native_id())
async def stay(): await asyncio.Event().wait()
)"});
    REQUIRE_MESSAGE(bound.ok(), (bound.ok() ? "" : bound.error().message));
    contexts.push_back(*std::move(bound));
  }
  CHECK(contexts[0].interpreter_id() != contexts[1].interpreter_id());
  std::vector<future<Value>> calls;
  const auto call_in = [](const Context& context, const char* function, CallOptions options = {}) {
    options.context = context.id();
    return PythonExecutor::async_call("__main__", function, {}, {}, options);
  };
  for (int i = 0; i < 200; ++i) {
    for (const Context& context : contexts) calls.push_back(call_in(context, "add"));
  }
  for (auto& one : calls) CHECK(one.get().ok());
  for (Context& context : contexts) {
    CHECK(*context.eval("n") == Value(200));
    CHECK(*context.eval("threads == {threading.get_native_id()}") == Value(true));
    auto late = call_in(context, "stay", {.timeout = std::chrono::milliseconds(20)});
    const auto outcome = late.get();
    REQUIRE_FALSE(outcome.ok());
    CHECK(outcome.error().code == Errc::timeout);
  }
  auto left = call_in(contexts[0], "stay");
  CHECK(contexts[0].close().ok());
  const auto outcome = left.get();
  REQUIRE_FALSE(outcome.ok());
  CHECK(outcome.error().code == Errc::cancelled);
}

TEST_CASE("A08: coroutines run on their loops and plain functions in the interpreters") {
  const InWorkshop here(own_workers());
  std::vector<CallSpec> calls;
  for (int i = 0; i < 40; ++i) calls.push_back(call(i % 2 == 0 ? "echo" : "echo_later", {i}));
  auto outcome = PythonExecutor::gather(calls);
  REQUIRE(outcome.wait_for(patience));
  const auto all = outcome.get();
  for (int i = 0; i < 40; ++i) CHECK(*(*all)[static_cast<std::size_t>(i)] == Value(i));
}

struct Read {
  std::vector<std::int64_t> items;
  std::string error;
};

Task<Read> read_all(Stream& stream) {
  Read read;
  while (auto item = co_await stream.next()) {
    if (item->ok()) {
      read.items.push_back((*item)->as_int64());
    } else {
      read.error = item->error().message;
    }
  }
  co_return read;
}

TEST_CASE("A10: a generator takes its turns in one interpreter, an async one on a loop") {
  const InWorkshop here(own_workers());
  const SystemClock clock;
  EventLoop loop(clock);
  for (const char* const function : {"count", "count_later"}) {
    CAPTURE(function);
    Stream stream =
        PythonExecutor::stream("workshop", function, {500}, {}, {.window = 4, .batch = 2});
    const Read read = run_task(loop, read_all(stream));
    CHECK(read.error.empty());
    REQUIRE(read.items.size() == 500);
    CHECK(read.items.back() == 499);
  }
}

TEST_CASE(
    "A18: what runs in an interpreter is interrupted at its deadline, and the worker serves on") {
  const InWorkshop here(own_workers());
  const auto spun = PythonExecutor::call("workshop", "spin", {}, {}, {.timeout = 100ms});
  REQUIRE_FALSE(spun.ok());
  CHECK(spun.error().code == Errc::timeout);
  std::vector<CallSpec> calls(20, call("echo", {1}));
  auto outcome = PythonExecutor::gather(calls);
  REQUIRE(outcome.wait_for(patience));
  const auto all = outcome.get();
  for (const auto& one : *all) CHECK(*one == Value(1));
}

TEST_CASE("A12: tasks in interpreters call C++ and use the shared state") {
  const InWorkshop here(own_workers());
  const auto echo =
      PythonExecutor::register_function("interp_echo", [](std::int64_t number) { return number; });
  CHECK(*PythonExecutor::call("workshop", "wrong_echoes", {4, 500, 0}) == Value(0));
  CHECK(PythonExecutor::call("workshop", "increment_all", {"own.", 100}).ok());
}

#endif

}  // namespace
}  // namespace unirun::python
