// E11 and E15 of the contract: what is parallel here, and calls that run beside one another.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "executors/python/python_executor.h"
#include "framework/clock.h"
#include "tests/python_executor/executor_fixture.h"

namespace unirun::python {
namespace {

// A folder with a module that the worker processes can import.
class Modules {
 public:
  Modules() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "unirun-parallel-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    std::ofstream(folder_ + "/work_for_processes.py") << R"(
import os, signal, time

def echo(*args, **kwargs):
    return [list(args), kwargs]

def fail(text):
    raise ValueError(text)

def crash():
    os.abort()

def leave(code):
    os._exit(code)

def pid():
    return os.getpid()

def has_mark():
    return "mark" in globals()

def sleep(marker):
    try:
        open(marker + "-began", "w").close()
        while True:
            time.sleep(0.01)
    finally:
        open(marker, "w").close()

def refuse_to_end():
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            pass

def count(n):
    total = 0
    for i in range(n):
        total += i & 3
    return total

def ask_host(count):
    import unirun
    return [unirun.call("add", i, 1) for i in range(count)]

def ask_unknown():
    import unirun
    try:
        unirun.functions.nothing
    except AttributeError as error:
        return str(error)

def ask_raising():
    import unirun
    try:
        unirun.call("raises")
    except IndexError as error:
        return [str(error), error.__notes__]

class Holder:
    @staticmethod
    def answer():
        return 42

number = 7

def go_inside():
    import unirun
    return unirun.call("inside")

def kind_of(x):
    return type(x).__name__

def long_int():
    return 2**70

def leave_a_mark(marker):
    open(marker, "w").close()

def wait_for_ctrl_c(marker):
    import unirun
    try:
        unirun.call("begun")
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        open(marker, "w").close()
        raise
)";
    std::ofstream(folder_ + "/only_here.py") << R"(
import os
if "UNIRUN_TEST_ELSEWHERE" in os.environ:
    raise RuntimeError("not elsewhere")
)";
  }
  ~Modules() { std::filesystem::remove_all(folder_); }
  Modules(const Modules&) = delete;
  Modules& operator=(const Modules&) = delete;

  [[nodiscard]] const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
};

struct WithModules {
  Modules modules;
  Running running;

  explicit WithModules(PythonExecutor::Config config = {.num_workers = 2})
      : running(with(std::move(config))) {}
  [[nodiscard]] std::string path(const std::string& name) const {
    return modules.folder() + "/" + name;
  }

 private:
  PythonExecutor::Config with(PythonExecutor::Config config) const {
    config.sys_path.push_back(modules.folder());
    return config;
  }
};

CallSpec call(std::string function, Args args = {}, Kwargs kwargs = {}) {
  return {.module = "work_for_processes",
          .function = std::move(function),
          .args = std::move(args),
          .kwargs = std::move(kwargs)};
}

std::vector<Result<Value>> outcomes_of(const std::vector<CallSpec>& calls,
                                       const ParallelOptions& options = {
                                           .mode = ExecutionMode::process}) {
  auto outcome = PythonExecutor::parallel(calls, options);
  REQUIRE(outcome.wait_for(patience));
  auto result = outcome.get();
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message));
  return *std::move(result);
}

TEST_CASE("A11: parallel calls run in worker processes and give their outcomes in order") {
  const WithModules running;
  std::vector<CallSpec> calls;
  for (int i = 0; i < 50; ++i)
    calls.push_back(call("echo", {i, "text", Bytes{"raw"}}, {{"key", 1.5}}));
  const auto outcomes = outcomes_of(calls);
  REQUIRE(outcomes.size() == 50);
  for (int i = 0; i < 50; ++i) {
    const auto& outcome = outcomes[static_cast<std::size_t>(i)];
    REQUIRE(outcome.ok());
    CHECK(*outcome == Value(Array{Array{i, "text", Bytes{"raw"}}, Object{{"key", 1.5}}}));
  }
}

TEST_CASE("A12: a worker process calls C++ functions of its host") {
  const WithModules running;
  const auto add =
      PythonExecutor::register_function("add", [](int one, int other) { return one + other; });
  const auto raises = PythonExecutor::register_function(
      "raises", []() -> int { throw std::out_of_range("too far"); });
  const auto outcomes =
      outcomes_of({call("ask_host", {1000}), call("ask_unknown"), call("ask_raising")});
  REQUIRE_MESSAGE(outcomes[0].ok(), (outcomes[0].ok() ? "" : outcomes[0].error().message));
  CHECK(outcomes[0]->as_array().size() == 1000);
  CHECK(outcomes[0]->as_array()[999] == Value(1000));
  REQUIRE(outcomes[1].ok());
  CHECK(*outcomes[1] == Value("no C++ function is registered under the name 'nothing'"));
  REQUIRE_MESSAGE(outcomes[2].ok(), (outcomes[2].ok() ? "" : outcomes[2].error().message));
  CHECK(*outcomes[2] == Value(Array{"too far", Array{"C++ exception: std::out_of_range"}}));
}

TEST_CASE("A11: no call at all gives no outcome at all") {
  const WithModules running;
  CHECK(outcomes_of({}).empty());
}

// How many of 30 calls are inside at once, at most.
int at_once(const ParallelOptions& options) {
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  const auto enter = PythonExecutor::register_function("inside", [&] {
    const int now = ++inside;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::sleep_for(5ms);
    --inside;
  });
  for (const auto& outcome : outcomes_of(std::vector<CallSpec>(30, call("go_inside")), options))
    CHECK_MESSAGE(outcome.ok(), (outcome.ok() ? "" : outcome.error().message));
  CHECK(most >= 1);
  return most;
}

TEST_CASE("A11: never more at once than there are cores, or fewer where that is wanted") {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  for (const ExecutionMode mode : {ExecutionMode::process, ExecutionMode::multi_executor}) {
    INFO(to_string(mode));
    {
      const WithModules running({.num_workers = 8});
      CHECK(at_once({.mode = mode}) <= cores);
    }
    {
      const WithModules running({.num_workers = 8, .num_subinterp_workers = 1'000'000});
      CHECK(at_once({.mode = mode}) <= cores);
    }
    const WithModules running({.num_workers = 8, .num_subinterp_workers = 1});
    CHECK(at_once({.mode = mode}) == 1);
  }
}

TEST_CASE("A18: a worker process interrupts by a KeyboardInterrupt where that is asked for") {
  const WithModules running({.num_workers = 1, .keyboard_interrupt = true});
  const std::string marker = running.path("marker");
  std::latch inside{1};
  const auto begun = PythonExecutor::register_function("begun", [&] { inside.count_down(); });
  const std::vector<CallSpec> calls{call("wait_for_ctrl_c", {marker})};
  auto outcome = PythonExecutor::parallel(calls, {.mode = ExecutionMode::process});
  inside.wait();
  outcome.cancel();
  const Instant end = SystemClock().now() + patience;
  while (!std::filesystem::exists(marker) && SystemClock().now() < end)
    std::this_thread::sleep_for(1ms);
  CHECK(std::filesystem::exists(marker));
}

TEST_CASE("A11: calls whose time is up when they are made never begin") {
  const WithModules running;
  const std::string marker = running.path("marker");
  for (const ExecutionMode mode : {ExecutionMode::process, ExecutionMode::multi_executor}) {
    const auto outcomes = outcomes_of({call("leave_a_mark", {marker}), call("echo", {1})},
                                      {.timeout = 0s, .mode = mode});
    CHECK(outcomes[0].error().code == Errc::timeout);
    CHECK(outcomes[1].error().code == Errc::timeout);
    CHECK(outcomes_of({call("echo", {1})}, {.mode = mode})[0].ok());
  }
  CHECK_FALSE(std::filesystem::exists(marker));
}

TEST_CASE("A29: tuples, long ints and dates go to worker processes and back where that is asked") {
  const Converters converters = Converters::standard();
  const WithModules running(
      {.num_workers = 1,
       .conversion = {
           .keep_tuples = true, .big_integers_as_text = true, .converters = &converters}});
  const Value date = Object{{"__date__", "2026-11-22"}};
  const Value pair = Object{{"__tuple__", Array{1, date}}};
  const auto outcomes = outcomes_of(
      {call("kind_of", {date}), call("kind_of", {pair}), call("echo", {pair}), call("long_int")});
  CHECK(*outcomes[0] == Value("date"));
  CHECK(*outcomes[1] == Value("tuple"));
  CHECK(*outcomes[2] == Value(Array{Array{pair}, Object{}}));
  CHECK(*outcomes[3] == Value("1180591620717411303424"));
}

TEST_CASE("A11: calls run in processes other than this one") {
  const WithModules running;
  const auto outcomes = outcomes_of({call("pid"), call("pid")});
  for (const auto& outcome : outcomes) CHECK(outcome->as_int64() != ::getpid());
}

TEST_CASE("A11: one failing call spoils no other and keeps its type, message and traceback") {
  const WithModules running;
  const auto outcomes =
      outcomes_of({call("echo", {1}), call("fail", {"no such job"}), call("echo", {2})});
  CHECK(outcomes[0].ok());
  CHECK(outcomes[2].ok());
  REQUIRE_FALSE(outcomes[1].ok());
  CHECK(outcomes[1].error().code == Errc::python_exception);
  CHECK(outcomes[1].error().type == "builtins.ValueError");
  CHECK(outcomes[1].error().message == "no such job");
  CHECK(outcomes[1].error().traceback.find("work_for_processes.py") != std::string::npos);
  CHECK(outcomes[1].error().payload == Value(Array{"no such job"}));
}

TEST_CASE("A11: a call that crashes its process is lost and no other is") {
  const WithModules running;
  std::vector<CallSpec> calls;
  for (int i = 0; i < 12; ++i) {
    calls.push_back(call("echo", {i}));
    if (i % 4 == 1) calls.push_back(call("crash"));
    if (i % 4 == 3) calls.push_back(call("leave", {3}));
  }
  const auto outcomes = outcomes_of(calls);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    INFO(calls[i].function);
    if (calls[i].function == "echo") {
      CHECK(outcomes[i].ok());
      continue;
    }
    REQUIRE_FALSE(outcomes[i].ok());
    CHECK(outcomes[i].error().code == Errc::worker_lost);
    const char* const how = calls[i].function == "crash" ? "signal 6" : "exit code 3";
    CHECK(outcomes[i].error().message.find(how) != std::string::npos);
  }
}

TEST_CASE("A11: what cannot be called says so: no module, no attribute, not callable") {
  const WithModules running;
  const auto outcomes =
      outcomes_of({CallSpec{.module = "no_such_module", .function = "f"}, call("no_such_function"),
                   call("number"), call("Holder.answer"), call("no function")});
  CHECK(outcomes[0].error().code == Errc::import_failed);
  CHECK(outcomes[1].error().code == Errc::unknown_function);
  CHECK(outcomes[2].error().code == Errc::not_callable);
  CHECK(*outcomes[3] == Value(42));
  CHECK(outcomes[4].error().code == Errc::import_failed);
}

TEST_CASE("A11: a deadline keeps what has ended, interrupts the rest, and runs its finally") {
  const WithModules running;
  const std::string marker = running.path("interrupted");
  // So that the processes are there.
  static_cast<void>(outcomes_of({call("echo"), call("echo")}));
  until_begun_in_time([&](Duration timeout) {
    auto outcome = PythonExecutor::parallel(std::vector{call("sleep", {marker})},
                                            {.timeout = timeout, .mode = ExecutionMode::process});
    REQUIRE(outcome.wait_for(patience));
    const auto result = outcome.get();
    REQUIRE(result.ok());
    CHECK((*result)[0].error().code == Errc::timeout);
    return std::filesystem::exists(marker + "-began");
  });
  const SystemClock clock;
  const Instant last = clock.now() + patience;
  while (!std::filesystem::exists(marker) && clock.now() < last) ::usleep(1000);
  CHECK(std::filesystem::exists(marker));
}

TEST_CASE("A11: code that does not end is killed, and others take its place") {
  const WithModules running;
  std::vector<CallSpec> calls(8, call("refuse_to_end"));
  const auto lost = outcomes_of(calls, {.timeout = 100ms, .mode = ExecutionMode::process});
  for (const auto& outcome : lost) CHECK(outcome.error().code == Errc::timeout);
  for (const auto& outcome : outcomes_of({call("echo"), call("echo"), call("echo")}))
    CHECK(outcome.ok());
}

TEST_CASE("A11: cancelling the future ends the calls, and its error says so") {
  const WithModules running;
  auto outcome = PythonExecutor::parallel(std::vector(5, call("refuse_to_end")),
                                          {.mode = ExecutionMode::process});
  CHECK(outcome.cancel());
  CHECK(outcome.get().error().code == Errc::cancelled);
  CHECK(outcomes_of({call("echo")})[0].ok());
}

TEST_CASE("A11: a shutdown settles what runs in processes, and nothing is parallel afterwards") {
  auto running = std::make_unique<WithModules>();
  auto outcome = PythonExecutor::parallel(std::vector(3, call("refuse_to_end")),
                                          {.mode = ExecutionMode::process});
  CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  REQUIRE(outcome.is_ready());
  CHECK(outcome.get().error().code == Errc::cancelled);
  auto late = PythonExecutor::parallel(std::vector{call("echo")});
  CHECK(late.get().error().code == Errc::not_initialized);
}

TEST_CASE("A11: a task that waits for parallel calls does not hold them up") {
  const WithModules running({.num_workers = 1});
  auto outcome = PythonExecutor::submit([] {
    return PythonExecutor::parallel(std::vector{call("echo", {1})},
                                    {.mode = ExecutionMode::process})
        .get()
        ->front();
  });
  REQUIRE(outcome.wait_for(patience));
  CHECK(outcome.get().ok());
}

TEST_CASE("A11: without its program there are no worker processes, and the error names the place") {
  const WithModules running({.num_workers = 1, .worker_program = "/nonexistent/worker"});
  auto outcome =
      PythonExecutor::parallel(std::vector{call("echo")}, {.mode = ExecutionMode::process});
  const auto result = outcome.get();
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == Errc::unsupported);
  CHECK(result.error().message.find("/nonexistent/worker") != std::string::npos);
}

TEST_CASE("A11: a preload that raises in the worker processes fails each call, with the reason") {
  const WithModules running({.num_workers = 1, .preload = {"only_here"}});
  ::setenv("UNIRUN_TEST_ELSEWHERE", "1", 1);
  const auto outcomes = outcomes_of({call("echo"), call("echo")});
  ::unsetenv("UNIRUN_TEST_ELSEWHERE");
  for (const auto& outcome : outcomes) {
    REQUIRE_FALSE(outcome.ok());
    CHECK(outcome.error().code == Errc::import_failed);
    CHECK(outcome.error().message.find("only_here: not elsewhere") != std::string::npos);
  }
}

#if PY_VERSION_HEX >= 0x030c0000 && !defined(Py_GIL_DISABLED)

const PythonExecutor::Config interpreters{.num_workers = 1, .allow_unsafe_subinterpreters = true};
constexpr ParallelOptions in_interpreters{.mode = ExecutionMode::subinterp};

TEST_CASE("A15: where interpreters are sound or wanted all the same they are the mode") {
  const WithModules running(interpreters);
  const ModeReport report = PythonExecutor::execution_mode();
  CHECK(report.mode == ExecutionMode::subinterp);
  CHECK(report.gil_enabled);
}

TEST_CASE("A11: interpreters run calls in this process, with modules of their own, in order") {
  const WithModules running(interpreters);
  const auto marked = PythonExecutor::submit([] {
                        const Reference module =
                            Reference::steal(PyImport_ImportModule("work_for_processes"));
                        return PyObject_SetAttrString(module.get(), "mark", Py_True) == 0;
                      }).get();
  REQUIRE(*marked);
  std::vector<CallSpec> calls{call("pid"), call("has_mark")};
  for (int i = 0; i < 50; ++i) calls.push_back(call("echo", {i, "text"}));
  const auto outcomes = outcomes_of(calls, in_interpreters);
  CHECK(outcomes[0]->as_int64() == ::getpid());
  CHECK(*outcomes[1] == Value(false));
  for (int i = 0; i < 50; ++i)
    CHECK(*outcomes[static_cast<std::size_t>(i) + 2] == Value(Array{Array{i, "text"}, Object{}}));
}

TEST_CASE("A11: one failing call in an interpreter spoils no other") {
  const WithModules running(interpreters);
  const auto outcomes =
      outcomes_of({call("echo"), call("fail", {"no such job"}), call("echo")}, in_interpreters);
  CHECK(outcomes[0].ok());
  CHECK(outcomes[2].ok());
  REQUIRE_FALSE(outcomes[1].ok());
  CHECK(outcomes[1].error().type == "builtins.ValueError");
  CHECK(outcomes[1].error().traceback.find("work_for_processes.py") != std::string::npos);
}

TEST_CASE("A11: a deadline interrupts what runs in an interpreter, which then serves again") {
  const WithModules running(interpreters);
  const std::string marker = running.path("interrupted");
  const auto outcomes = outcomes_of(std::vector(6, call("sleep", {marker})),
                                    {.timeout = 200ms, .mode = ExecutionMode::subinterp});
  for (const auto& outcome : outcomes) CHECK(outcome.error().code == Errc::timeout);
  CHECK(outcomes_of(std::vector(6, call("echo")), in_interpreters)[5].ok());
}

TEST_CASE("A11: a shutdown interrupts and settles what runs in interpreters") {
  const WithModules running(interpreters);
  auto outcome =
      PythonExecutor::parallel(std::vector(5, call("sleep", {running.path("x")})), in_interpreters);
  CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  REQUIRE(outcome.is_ready());
  CHECK(outcome.get().error().code == Errc::cancelled);
}

TEST_CASE("A11: a preload that raises in an interpreter fails each call there, with the reason") {
  auto config = interpreters;
  config.preload = {"only_here"};
  const WithModules running(config);
  ::setenv("UNIRUN_TEST_ELSEWHERE", "1", 1);
  const auto outcomes = outcomes_of({call("echo"), call("echo"), call("echo")}, in_interpreters);
  ::unsetenv("UNIRUN_TEST_ELSEWHERE");
  for (const auto& outcome : outcomes) {
    REQUIRE_FALSE(outcome.ok());
    CHECK(outcome.error().code == Errc::import_failed);
  }
}

#else

TEST_CASE("A15: interpreters that Python has not got are refused, by the executor and by a call") {
  const auto started = PythonExecutor::start({.mode = ExecutionMode::subinterp});
  REQUIRE_FALSE(started.ok());
  CHECK(started.error().code == Errc::unsupported);
  CHECK_FALSE(PythonExecutor::is_initialized());
  const WithModules running;
  auto outcome =
      PythonExecutor::parallel(std::vector{call("echo")}, {.mode = ExecutionMode::subinterp});
  const auto result = outcome.get();
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == Errc::unsupported);
  CHECK(result.error().message.starts_with("ParallelOptions::mode subinterp: "));
  CHECK(started.error().message.starts_with("Config::mode subinterp: "));
}

#endif

TEST_CASE("A15: the rule, over the versions and what is wanted") {
  const auto chosen = [](const ModeFacts& facts) {
    const auto report = choose_mode(facts);
    return report.ok() ? report->mode : ExecutionMode::automatic;
  };
  using enum ExecutionMode;
  CHECK(chosen({.minor = 11}) == multi_executor);
  CHECK(chosen({.minor = 12}) == multi_executor);
  CHECK(chosen({.minor = 13}) == multi_executor);
  CHECK(chosen({.minor = 14}) == subinterp);
  CHECK(chosen({.minor = 15}) == subinterp);
  for (const ExecutionMode wanted : {automatic, free_threaded}) {
    CHECK(chosen(
              {.wanted = wanted, .minor = 14, .gil_enabled = false, .free_threaded_build = true}) ==
          free_threaded);
  }
  CHECK(chosen({.minor = 14, .free_threaded_build = true}) == multi_executor);
  CHECK(chosen({.wanted = subinterp, .minor = 14, .free_threaded_build = true}) == automatic);
  CHECK(chosen({.wanted = free_threaded, .minor = 14, .free_threaded_build = true}) == automatic);
  CHECK(chosen({.allow_unsafe_subinterpreters = true, .minor = 11}) == multi_executor);
  CHECK(chosen({.allow_unsafe_subinterpreters = true, .minor = 12}) == subinterp);
  CHECK(chosen({.allow_unsafe_subinterpreters = true, .minor = 13}) == subinterp);
  CHECK(chosen({.minor = 14, .refused_modules = {{"readline", "single-phase"}}}) == multi_executor);
  CHECK(chosen({.wanted = process, .minor = 14}) == process);
  CHECK(chosen({.wanted = multi_executor, .minor = 14}) == multi_executor);
  CHECK(chosen({.wanted = subinterp, .minor = 14}) == subinterp);
  // Refused: automatic stands for none.
  CHECK(chosen({.wanted = subinterp, .minor = 11}) == automatic);
  CHECK(chosen({.wanted = subinterp, .minor = 13}) == automatic);
  CHECK(chosen({.wanted = free_threaded, .minor = 14}) == automatic);
  const auto refused = choose_mode(
      {.wanted = subinterp, .minor = 14, .refused_modules = {{"numpy", "single-phase"}}});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::unsupported);
  CHECK(refused.error().message.find("numpy: single-phase") != std::string::npos);
}

TEST_CASE(
    "A15: execution_mode says what it is here and its version, and nothing where nothing runs") {
  CHECK(PythonExecutor::execution_mode().mode == ExecutionMode::automatic);
  const WithModules running;
  const ModeReport report = PythonExecutor::execution_mode();
  CHECK(
      report.python_version.starts_with(fmt::format("{}.{}", PY_MAJOR_VERSION, PY_MINOR_VERSION)));
  CHECK_FALSE(report.reason.empty());
#if defined(Py_GIL_DISABLED) || PY_VERSION_HEX < 0x030e0000
  CHECK(report.mode == ExecutionMode::multi_executor);
  CHECK(report.gil_enabled);
#endif
}

}  // namespace
}  // namespace unirun::python
