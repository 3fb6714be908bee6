// C++ functions of this process that Python code in worker processes calls: E12 of the contract.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <latch>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "executors/python/python_executor.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "tests/python_executor/executor_fixture.h"
#include "tests/python_executor/loop_thread.h"
#include "tests/python_executor/module_folder.h"
#include "tests/python_executor/sanitizer.h"
#include "tests/threads_of_process.h"

namespace unirun::python {
namespace {

// What may be asked of any interpreter: asyncio, ctypes and the like are not for each.
constexpr const char* script_text = R"(
import os, threading, unirun
from concurrent.futures import ThreadPoolExecutor

def said_by(call):
    try:
        return call()
    except Exception as error:
        return [type(error).__name__, str(error), getattr(error, "__notes__", [])]

def script():
    from unirun.functions import add
    return [
        unirun.call("add", 1, 2), unirun.functions.add(3, 4), add(5, 6),
        unirun.call("all_of", 1, "two", b"three", [4, {"five": 6.5}], None, True, seven=7),
        unirun.call("there", 20, 1),
        unirun.call("later", 21),
        hasattr(unirun.functions, "nothing"),
        said_by(lambda: unirun.call("nothing")),
        said_by(lambda: unirun.call("raises")),
        said_by(lambda: unirun.call("system_error")),
        said_by(lambda: unirun.call("python_error")),
        said_by(lambda: unirun.call("add", 1)),
        said_by(lambda: unirun.call("add", 1, "x")),
        said_by(lambda: unirun.call("total", [1, 2, "three"])),
        said_by(lambda: unirun.call("throws_a_number")),
    ]

def script_in_pool():
    with ThreadPoolExecutor(4) as pool:
        first, *others = list(pool.map(lambda _: script(), range(4)))
    return first if all(other == first for other in others) else "the answers differ"

def again(way, rounds):
    first, *others = [globals()[way]() for _ in range(rounds)]
    return first if all(other == first for other in others) else "the answers differ"

def nested(depth):
    return 0 if depth == 0 else unirun.call("deeper", depth - 1) + 1
)";

constexpr const char* module_text = R"(
import asyncio, ctypes, functools, operator, os, resource, threading, unirun
from the_script import *

async def script_awaiting():
    def run(): return script()
    first = await asyncio.to_thread(run)
    return first if script() == first else "the answers differ"

def script_in_coroutine():
    return asyncio.run(script_awaiting())

def give_an_object():
    return [
        said_by(lambda: unirun.call("echo", [1, {"deep": object()}]))[:2],
        said_by(lambda: unirun.call("all_of", 1, key=[object()]))[:2],
        said_by(lambda: asyncio.run(await_one("add", 1, object())))[:2],
        said_by(lambda: unirun.call("echo", [1, 2, 3])),
        said_by(lambda: unirun.call("gives_an_object"))[:2],
    ]

async def await_one(name, *args):
    return await unirun.async_call(name, *args)

def echo_in_threads(threads, calls):
    wrong = []
    def go(number):
        for i in range(calls):
            mine = number * calls + i
            if unirun.call("echo", mine) != mine:
                wrong.append(mine)
    running = [threading.Thread(target=go, args=(i,)) for i in range(threads)]
    for one in running: one.start()
    for one in running: one.join()
    return len(wrong)

async def await_all(count):
    answers = await asyncio.gather(
        *(unirun.async_call("echo", i) for i in range(count)),
        *(unirun.async_call("there", i, 0) for i in range(count)),
        *(unirun.async_call("later", i) for i in range(count)))
    try:
        await unirun.async_call("raises")
    except IndexError as error:
        answers.append(str(error))
    return answers

def awaiting(count):
    expected = list(range(count)) * 2 + [2 * i for i in range(count)] + ["too far"]
    return asyncio.run(await_all(count)) == expected

def call_what_comes_and_goes(threads):
    seen = {"answered": 0, "unknown": 0, "wrong": 0}
    def go():
        while unirun.call("go_on"):
            try:
                key = "answered" if unirun.call("comes_and_goes", 7) == 7 else "wrong"
            except AttributeError:
                key = "unknown"
            seen[key] += 1
    running = [threading.Thread(target=go) for _ in range(threads)]
    for one in running: one.start()
    for one in running: one.join()
    return seen["wrong"]

def wait_there():
    try:
        unirun.call("wait")
    finally:
        unirun.call("clean_up")

def interrupted_before_it_waits():
    # Nothing here runs Python code between the two calls.
    send = functools.partial(
        ctypes.pythonapi.PyThreadState_SetAsyncExc,
        ctypes.c_ulong(threading.get_ident()), ctypes.py_object(KeyboardInterrupt))
    wait = functools.partial(unirun.call, "wait")
    try:
        list(map(operator.call, [send, wait]))
    except BaseException as error:
        return [type(error).__name__, unirun.call("echo", 1)]

def report():
    unirun.call("report", os.getpid())

def take():
    return unirun.call("take", os.getpid())

def take_and_wait():
    take()
    unirun.call("wait")

def take_late():
    unirun.call("take_late", os.getpid())

def who_calls():
    return [unirun.call("who"), unirun.call("who_on_loop"), asyncio.run(await_one("who")),
            asyncio.run(await_one("who_on_loop"))]

def wait_in_threads(others=3):
    running = [threading.Thread(target=lambda: unirun.call("wait")) for _ in range(others)]
    for one in running: one.start()
    unirun.call("wait")

def echo(value):
    return unirun.call("echo", value)

def kill_me():
    unirun.call("kill", os.getpid())

def leave():
    unirun.call("echo", 1)
    return os.getpid()

def said_in_fork(call):
    readable, writable = os.pipe()
    if os.fork() == 0:
        os.write(writable, ": ".join(said_by(call)[:2]).encode())
        os._exit(0)
    os.close(writable)
    said = os.read(readable, 1000).decode()
    os.close(readable)
    os.wait()
    return said

def in_fork():
    from unirun.functions import echo
    echo(1)
    return [said_in_fork(lambda: echo(2)), said_in_fork(lambda: unirun.call("echo", 2)),
            said_in_fork(lambda: unirun.call("add", 1, 2)), said_in_fork(lambda: unirun.functions.add),
            said_in_fork(lambda: dir(unirun.functions)),
            said_in_fork(lambda: asyncio.run(await_one("echo", 2))), unirun.call("echo", 3)]

def return_in_fork():
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        return "of the child"
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), unirun.call("echo", 1)]

def without_descriptors():
    said = []
    def go():
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            said.extend([said_by(lambda: unirun.call("echo", 1))[:2],
                         said_by(lambda: unirun.call("add", 1, 2))[:2]])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        said.append(unirun.call("add", 1, 2))
    unirun.call("echo", 1)
    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    return said

def call_in_thread():
    said = []
    thread = threading.Thread(target=lambda: said.append(said_by(lambda: unirun.call("echo", 1))))
    thread.start()
    thread.join()
    return [*said, unirun.call("echo", 2)]

def send_much(size):
    much = b"x" * size
    return [unirun.call("echo", much) == much, asyncio.run(await_one("echo", much)) == much,
            unirun.call("echo", 1)]

def begin_in_background(count):
    def go(number):
        while unirun.call("beat", number):
            pass
    for i in range(count): threading.Thread(target=go, args=(i,), daemon=True).start()

def stop_me():
    return unirun.call("stop", os.getpid())

def end_itself():
    return [unirun.call("ends_itself"), said_by(lambda: unirun.call("ends_itself"))[0]]

async def await_waits(count):
    await asyncio.gather(*(unirun.async_call("wait") for _ in range(count)))

def wait_awaiting(count):
    asyncio.run(await_waits(count))
)";

// A running executor whose processes can import the module.
class WithModule {
 public:
  explicit WithModule(std::uint32_t workers = 2)
      : WithModule(PythonExecutor::Config{.num_workers = workers}) {}
  explicit WithModule(PythonExecutor::Config config) {
    modules_.add("the_script", script_text);
    modules_.add("calls_the_host", module_text);
    config.sys_path = {modules_.path()};
    const auto started = PythonExecutor::start(config);
    REQUIRE_MESSAGE(started.ok(), (started.ok() ? "" : started.error().message));
  }
  ~WithModule() {
    if (PythonExecutor::is_initialized())
      static_cast<void>(PythonExecutor::shutdown({.drain = 0s}));
  }
  WithModule(const WithModule&) = delete;
  WithModule& operator=(const WithModule&) = delete;

  [[nodiscard]] const std::string& folder() const { return modules_.path(); }

 private:
  ModuleFolder modules_;
};

CallSpec call(std::string function, Args args = {}) {
  return {.module = "calls_the_host",
          .function = std::move(function),
          .args = std::move(args),
          .kwargs = {}};
}

CallSpec script(std::string function, Args args = {}) {
  CallSpec spec = call(std::move(function), std::move(args));
  spec.module = "the_script";
  return spec;
}

std::vector<Result<Value>> outcomes_of(const std::vector<CallSpec>& calls,
                                       ExecutionMode mode = ExecutionMode::process) {
  auto outcome = PythonExecutor::parallel(calls, {.mode = mode});
  REQUIRE(outcome.wait_for(patience));
  auto result = outcome.get();
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message));
  return *std::move(result);
}

Value value_of(const CallSpec& spec) {
  auto outcome = outcomes_of({spec}).front();
  REQUIRE_MESSAGE(outcome.ok(),
                  (outcome.ok() ? "" : outcome.error().message + outcome.error().traceback));
  return *std::move(outcome);
}

// {"deep": an object of Python's}.
Value a_ref_within() {
  const GILGuard guard;
  return Object{{"deep", Ref::borrow(Py_None)}};
}

// What the module calls.
class Functions {
 public:
  Functions() {
    keep("echo", [](Value value) { return value; });
    keep("add", [](int one, int other) { return one + other; });
    keep("all_of", [](const Args& args, const Kwargs& kwargs) {
      return Value(Array{Value(args.values()), Value(kwargs)});
    });
    keep("there",
         [this](int one, int other) {
           if (std::this_thread::get_id() != elsewhere_.id())
             throw std::logic_error("not on its loop");
           return one + other;
         },
         {.thread = On::loop, .loop = &elsewhere_.loop()});
    keep("later", [](int value) { return PythonExecutor::submit([value] { return value * 2; }); });
    keep("raises", []() -> int { throw std::out_of_range("too far"); });
    keep("system_error",
         []() -> int { throw std::system_error(ENOENT, std::generic_category(), "the file"); });
    keep("python_error", []() -> Result<Value> {
      return Error{
          .code = Errc::python_exception, .type = "builtins.KeyError", .message = "so it is"};
    });
    keep("throws_a_number", []() -> int { throw 42; });
    keep("gives_an_object", a_ref_within);
    keep("total", [](const std::vector<int>& all) {
      int total = 0;
      for (const int one : all) total += one;
      return total;
    });
  }

  template <class F>
  void keep(const std::string& name, F function, FunctionOptions options = {}) {
    all_.push_back(PythonExecutor::register_function(name, std::move(function), options));
    REQUIRE_MESSAGE(all_.back().ok(), name);
  }

 private:
  LoopThread elsewhere_;
  std::vector<Registration> all_;
};

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator descriptors("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(descriptors), end(descriptors)));
}

bool becomes(const std::function<bool()>& condition) {
  const SystemClock clock;
  const Instant last = clock.now() + patience;
  while (!condition() && clock.now() < last) ::usleep(1000);
  return condition();
}

// A function "wait", which waits until it is let go. A call of it may outlive the test.
class HeldFunction {
 public:
  HeldFunction() { REQUIRE(registration_.ok()); }
  ~HeldFunction() { let_go(); }
  HeldFunction(const HeldFunction&) = delete;
  HeldFunction& operator=(const HeldFunction&) = delete;

  [[nodiscard]] int waiting() const { return calls_->waiting.load(); }
  void let_go() {
    if (!std::exchange(is_open_, true)) calls_->open.count_down();
  }

 private:
  struct Calls {
    std::atomic<int> waiting{0};
    std::latch open{1};
  };
  const std::shared_ptr<Calls> calls_ = std::make_shared<Calls>();
  bool is_open_ = false;
  const Registration registration_ = PythonExecutor::register_function("wait", [calls = calls_] {
    ++calls->waiting;
    calls->open.wait();
  });
};

// A limiter for one, and functions that take its permit for the process that calls.
class OnePermit {
 public:
  explicit OnePermit(const std::string& name)
      : limiter_(PythonExecutor::limiter(name, {.max_concurrent = 1, .max_queue = 10})) {
    take_ = PythonExecutor::register_function("take", [this](int pid) { return take(pid); });
    take_late_ = PythonExecutor::register_function("take_late", [this](int pid) {
      ::kill(pid, SIGKILL);
      late_.wait();
      return take(pid);
    });
  }
  [[nodiscard]] LimiterFigures figures() const { return limiter_.figures(); }
  // Who has taken it, in turn.
  [[nodiscard]] std::vector<int> takers() {
    const std::lock_guard lock(mutex_);
    return takers_;
  }
  ~OnePermit() { let_late_one_go(); }
  OnePermit(const OnePermit&) = delete;
  OnePermit& operator=(const OnePermit&) = delete;

  // Its process has died by now.
  void let_late_one_go() {
    if (!std::exchange(is_late_, true)) late_.count_down();
  }

 private:
  Result<Value> take(int pid) {
    auto permit = limiter_.acquire(patience, PythonExecutor::calling_process());
    if (!permit.ok()) return permit.error();
    const std::lock_guard lock(mutex_);
    permits_.push_back(*std::move(permit));
    takers_.push_back(pid);
    return Value(pid);
  }

  const Limiter limiter_;
  std::latch late_{1};
  bool is_late_ = false;
  std::mutex mutex_;  // Guards the next two.
  std::vector<Permit> permits_;
  std::vector<int> takers_;
  Registration take_;
  Registration take_late_;
};

// ---- A host in a process of its own ----

constexpr const char* pipe_of_host = "UNIRUN_TEST_PIPE_OF_HOST";

// Says the id of its worker process, which waits then.
void be_host(int pipe) {
  const WithModule running(1);
  const auto report = PythonExecutor::register_function("report", [&](int pid) {
    std::filesystem::remove_all(running.folder());
    if (::write(pipe, &pid, sizeof pid) == sizeof pid) ::pause();
  });
  static_cast<void>(outcomes_of({call("report")}));
}

// It and the id of its worker process.
struct Host {
  explicit Host(const std::string& test) {
    std::array<int, 2> pipe{};
    REQUIRE(::pipe(pipe.data()) == 0);
    const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
    const std::string which = "--test-case=" + test;
    const std::array<char*, 3> words{const_cast<char*>(program.c_str()),
                                     const_cast<char*>(which.c_str()), nullptr};
    ::setenv(pipe_of_host, std::to_string(pipe[1]).c_str(), 1);
    const int failed =
        ::posix_spawn(&pid, program.c_str(), nullptr, nullptr, words.data(), environ);
    ::unsetenv(pipe_of_host);
    ::close(pipe[1]);
    const bool is_told = ::read(pipe[0], &worker, sizeof worker) == sizeof worker;
    ::close(pipe[0]);
    REQUIRE(failed == 0);
    REQUIRE(is_told);
  }
  ~Host() { kill(); }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  void kill() {
    if (pid <= 0) return;
    ::kill(pid, SIGKILL);
    ::waitpid(std::exchange(pid, 0), nullptr, 0);
  }

  pid_t pid = 0;
  pid_t worker = 0;
};

}  // namespace

TEST_CASE("A12: one script says the same in this process, on threads, in a coroutine, elsewhere") {
  const WithModule running;
  const Functions functions;
  const auto here = PythonExecutor::call("calls_the_host", "script", {});
  REQUIRE_MESSAGE(here.ok(), (here.ok() ? "" : here.error().message + here.error().traceback));
  CHECK(here->as_array()[3] ==
        Value(Array{Array{1, "two", Bytes{"three"}, Array{4, Object{{"five", 6.5}}}, Value(), true},
                    Object{{"seven", 7}}}));
  CHECK(here->as_array()[8] ==
        Value(Array{"IndexError", "too far", Array{"C++ exception: std::out_of_range"}}));
  for (const char* way : {"script_in_pool", "script_in_coroutine"}) {
    const auto said = PythonExecutor::call("calls_the_host", way, {});
    REQUIRE_MESSAGE(said.ok(), (said.ok() ? "" : said.error().message));
    CHECK_MESSAGE(*said == *here, way);
  }
  for (const char* way : {"script", "script_in_pool", "script_in_coroutine"}) {
    const Value said = value_of(call(way));
    REQUIRE(said.is_array());
    for (std::size_t i = 0; i < here->as_array().size(); ++i)
      CHECK_MESSAGE(said.as_array()[i] == here->as_array()[i], way, ", number ", i);
  }
}

TEST_CASE("A12: what cannot go to the host says so and where it is, and the line still serves") {
  const WithModule running;
  const Functions functions;
  const Value said = value_of(call("give_an_object"));
  const std::string why =
      "a Ref cannot be stored: it belongs to one interpreter; pickle what it is of";
  CHECK(said.as_array()[0] == Value(Array{"TypeError", "echo(): argument 1: at [1].deep: " + why}));
  CHECK(said.as_array()[1] ==
        Value(Array{"TypeError", "all_of(): argument 'key': at [0]: " + why}));
  CHECK(said.as_array()[2] == Value(Array{"TypeError", "add(): argument 2: " + why}));
  CHECK(said.as_array()[3] == Value(Array{1, 2, 3}));
  CHECK(said.as_array()[4] == Value(Array{"TypeError", "at .deep: " + why}));

  const auto refused = outcomes_of({call("echo", {1, a_ref_within()})}).front();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::conversion);
  CHECK(refused.error().message == "echo(): argument 2: at .deep: " + why);
}

TEST_CASE("A12: Python threads of worker processes each get their own answers") {
  const WithModule running;
  const Functions functions;
  for (const auto& wrong : outcomes_of(std::vector(2, call("echo_in_threads", {16, 250})))) {
    REQUIRE_MESSAGE(wrong.ok(), (wrong.ok() ? "" : wrong.error().message));
    CHECK(*wrong == Value(0));
  }
}

TEST_CASE("A12: coroutines of worker processes await functions of theirs, of a loop, and futures") {
  const WithModule running;
  const Functions functions;
  CHECK(value_of(call("awaiting", {500})) == Value(true));
}

TEST_CASE("A12: functions come and go while threads of worker processes call them") {
  const WithModule running;
  std::atomic<bool> is_over{false};
  std::atomic<int> calls{0};
  const auto go_on =
      PythonExecutor::register_function("go_on", [&is_over] { return !is_over.load(); });
  auto outcome = PythonExecutor::parallel(std::vector(2, call("call_what_comes_and_goes", {3})),
                                          {.mode = ExecutionMode::process});
  for (int round = 0; round < 50; ++round) {
    const auto alive = std::make_shared<std::atomic<bool>>(true);
    auto comes_and_goes =
        PythonExecutor::register_function("comes_and_goes", [&, alive](int value) {
          ++calls;
          return alive->load() ? value : -1;
        });
    REQUIRE(comes_and_goes.ok());
    const int before = calls.load();
    CHECK(becomes([&] { return calls.load() > before; }));
    comes_and_goes.reset();  // Waits for those that run: nobody meets the end of it.
    alive->store(false);
  }
  is_over = true;
  REQUIRE(outcome.wait_for(patience));
  const auto all = outcome.get();
  REQUIRE(all.ok());
  for (const auto& wrong : *all) {
    REQUIRE_MESSAGE(wrong.ok(), (wrong.ok() ? "" : wrong.error().message));
    CHECK(*wrong == Value(0));
  }
}

TEST_CASE("A12: a deadline frees a worker process that waits for a function, which calls again") {
  const WithModule running(1);
  const Functions functions;
  const HeldFunction held;
  std::atomic<int> cleaned_up{0};
  const auto clean_up =
      PythonExecutor::register_function("clean_up", [&cleaned_up] { ++cleaned_up; });
  CHECK(value_of(call("echo", {1})) == Value(1));  // An interrupted import is not the subject.
  // Once more where the machine is so slow that it did not wait yet, or that it was asked to end a
  // second time by then; or that its call is on its way still, and is made all the same.
  int rounds = 0;
  for (; rounds < 20 && cleaned_up.load() == 0; ++rounds) {
    auto outcome = PythonExecutor::parallel(std::vector(1, call("wait_there")),
                                            {.timeout = 500ms, .mode = ExecutionMode::process});
    const auto all = outcome.get();
    REQUIRE(all.ok());
    CHECK(all->front().error().code == Errc::timeout);
    CHECK(value_of(call("echo", {5})) == Value(5));  // That comes after.
  }
  CHECK(cleaned_up.load() >= 1);
  CHECK(cleaned_up.load() <= rounds);
}

TEST_CASE("A12: a cancelled call that waits for a function makes room for the next") {
  const WithModule running(1);
  const Functions functions;
  const HeldFunction held;
  auto outcome = PythonExecutor::parallel(std::vector(1, call("wait_in_threads")),
                                          {.mode = ExecutionMode::process});
  REQUIRE(becomes([&] { return held.waiting() == 4; }));
  CHECK(outcome.cancel());
  CHECK(outcome.get().error().code == Errc::cancelled);
  CHECK(value_of(call("echo", {5})) == Value(5));
}

TEST_CASE("A12: who is interrupted before he waits for a function does not call it") {
  const WithModule running(1);
  const Functions functions;
  const HeldFunction held;
  CHECK(value_of(call("interrupted_before_it_waits")) == Value(Array{"Interrupted", 1}));
  CHECK(held.waiting() == 0);
}

TEST_CASE("A12: a worker process that waits for a function ends with its host") {
  if (const char* const pipe = std::getenv(pipe_of_host)) return be_host(std::atoi(pipe));
  Host host("A12: a worker process that waits for a function ends with its host");
  const int worker = static_cast<int>(::syscall(SYS_pidfd_open, host.worker, 0));
  REQUIRE(worker >= 0);
  host.kill();
  pollfd end{.fd = worker, .events = POLLIN, .revents = 0};
  CHECK(::poll(&end, 1, 60'000) == 1);
  ::close(worker);
}

TEST_CASE("A19: the permit of a worker process that is killed goes to the one that waits") {
  OnePermit one("of processes");
  {
    const WithModule running;
    const HeldFunction held;
    auto first = PythonExecutor::parallel(std::vector(1, call("take_and_wait")),
                                          {.mode = ExecutionMode::process});
    REQUIRE(becomes([&] { return held.waiting() == 1; }));
    auto second =
        PythonExecutor::parallel(std::vector(1, call("take")), {.mode = ExecutionMode::process});
    REQUIRE(becomes([&] { return one.figures().waiting == 1; }));
    REQUIRE(one.takers().size() == 1);
    ::kill(one.takers().front(), SIGKILL);
    CHECK(first.get()->front().error().code == Errc::worker_lost);
    const auto taken = second.get();
    REQUIRE(taken.ok());
    REQUIRE(taken->front().ok());
    CHECK(*taken->front() == Value(one.takers().back()));
    CHECK(one.takers().front() != one.takers().back());
    CHECK(one.figures().held == 1);
    CHECK(one.figures().orphaned == 1);
  }
  CHECK(one.figures().held == 0);  // The other has ended, too.
}

TEST_CASE("A19: a permit that is taken for a worker process after its end comes back") {
  OnePermit one("late");
  const WithModule running(1);
  CHECK(outcomes_of({call("take_late")}).front().error().code == Errc::worker_lost);
  one.let_late_one_go();
  CHECK(becomes([&] { return one.takers().size() == 1 && one.figures().held == 0; }));
}

TEST_CASE("A19: a function knows the worker process that calls it, on each thread where it runs") {
  const auto who = [] { return PythonExecutor::calling_process(); };
  const WithModule running;
  Functions functions;
  LoopThread elsewhere;
  functions.keep("who", who);
  functions.keep("who_on_loop", who, {.thread = On::loop, .loop = &elsewhere.loop()});
  CHECK(*PythonExecutor::call("calls_the_host", "who_calls") == Value(Array{0, 0, 0, 0}));
  const Value said = value_of(call("who_calls"));
  const Value& first = said.as_array().front();
  CHECK(first != Value(0));
  CHECK(said == Value(Array{first, first, first, first}));
}

TEST_CASE("A12: a worker process that is killed while it calls loses its call and nothing else") {
  const WithModule running;
  const Functions functions;
  const auto killer = PythonExecutor::register_function("kill", [](int pid) {
    ::kill(pid, SIGKILL);
    return pid;
  });
  for (int round = 0; round < 3; ++round) {
    const auto outcomes = outcomes_of({call("kill_me"), call("echo", {round})});
    REQUIRE_FALSE(outcomes[0].ok());
    CHECK(outcomes[0].error().code == Errc::worker_lost);
    REQUIRE(outcomes[1].ok());
    CHECK(*outcomes[1] == Value(round));
  }
}

TEST_CASE("A12: a shutdown does not wait for ever for functions that processes call") {
  const WithModule running;
  HeldFunction held;
  auto outcome = PythonExecutor::parallel(std::vector(1, call("wait_in_threads")),
                                          {.mode = ExecutionMode::process});
  REQUIRE(becomes([&] { return held.waiting() == 4; }));
  CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  REQUIRE(outcome.is_ready());
  CHECK(outcome.get().error().code == Errc::cancelled);
}

TEST_CASE("A12: threads, lines and processes of calls back are gone after a shutdown") {
  const auto one_life = [] {
    const WithModule running;
    const Functions functions;
    for (const auto& one : outcomes_of({call("echo_in_threads", {8, 10}), call("awaiting", {5})}))
      CHECK(one.ok());
  };
  one_life();  // What is kept for ever is there.
  const auto threads = test::threads_of_this_process();
  const std::size_t descriptors = open_descriptors();
  for (int round = 0; round < 3; ++round) one_life();
  CHECK(test::no_threads_are_left_but(threads));
  CHECK(becomes([&] { return open_descriptors() <= descriptors; }));
}

TEST_CASE("A12: the lines of Python threads that have ended are closed") {
  const WithModule running(1);
  const Functions functions;
  CHECK(value_of(call("echo_in_threads", {1, 1})) == Value(0));
  const std::size_t descriptors = open_descriptors();
  for (int round = 0; round < 5; ++round)
    CHECK(value_of(call("echo_in_threads", {16, 1})) == Value(0));
  CHECK(becomes([&] { return open_descriptors() <= descriptors + 2; }));
}

TEST_CASE("A13: functions that worker processes call may call worker processes again") {
  const WithModule running;
  const auto deeper = PythonExecutor::register_function("deeper", [](int depth) -> Result<Value> {
    auto outcome = PythonExecutor::parallel(std::vector(1, script("nested", {depth})),
                                            {.mode = ExecutionMode::process});
    auto all = outcome.get();
    if (!all.ok()) return all.error();
    return all->front();
  });
  for (const auto& outcome : outcomes_of(std::vector(3, script("nested", {2})))) {
    REQUIRE_MESSAGE(outcome.ok(), (outcome.ok() ? "" : outcome.error().message));
    CHECK(*outcome == Value(2));
  }
}

TEST_CASE("A12: a fork of a worker process is refused, and its parent calls on") {
  const WithModule running(1);
  const Functions functions;
  const Value why =
      "NotImplementedError: a fork of a worker process has no C++ functions: call them in its "
      "parent, or start a process by subprocess or multiprocessing's spawn";
  CHECK(value_of(call("in_fork")) == Value(Array{why, why, why, why, why, why, 3}));
}

TEST_CASE("E02: a fork that returns from its task ends there, here and in a worker process") {
  const WithModule running(1);
  const Functions functions;
  CHECK(*PythonExecutor::call("calls_the_host", "return_in_fork") == Value(Array{1, 1}));
  CHECK(value_of(call("return_in_fork")) == Value(Array{1, 1}));
}

TEST_CASE("A12: a worker process that has no descriptor left says so of each function" *
          doctest::skip(sanitizer_needs_descriptors)) {
  const WithModule running(1);
  const Functions functions;
  const Value why = Array{"NotImplementedError", "no line to the host: Too many open files"};
  CHECK(value_of(call("without_descriptors")) == Value(Array{why, why, 3}));
}

TEST_CASE("A12: a host that has no descriptor left says so to a new caller and serves the others" *
          doctest::skip(sanitizer_needs_descriptors)) {
  const WithModule running(1);
  const Functions functions;
  CHECK(value_of(call("echo", {1})) == Value(1));
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const int lowest = ::dup(STDIN_FILENO);
  REQUIRE(lowest >= 0);
  ::close(lowest);
  const rlimit none{.rlim_cur = static_cast<rlim_t>(lowest), .rlim_max = before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const Value said = value_of(call("call_in_thread"));
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(said == Value(Array{Array{"RuntimeError",
                                  "the host of this worker process is gone, or has no thread or "
                                  "descriptor left for one more caller",
                                  Array{}},
                            2}));
  CHECK(value_of(call("call_in_thread")) == Value(Array{1, 2}));
}

TEST_CASE("A12: 50 MB go to a function and come back, for who waits and for who awaits") {
  const WithModule running(1);
  const Functions functions;
  CHECK(value_of(call("send_much", {50 << 20})) == Value(Array{true, true, 1}));
}

TEST_CASE("A12: threads of a worker process call on after the call that began them has returned") {
  const WithModule running(1);
  const Functions functions;
  std::array<std::atomic<int>, 3> beats{};
  const auto beat = PythonExecutor::register_function("beat", [&beats](std::size_t number) {
    ++beats.at(number);
    return true;
  });
  CHECK(value_of(call("begin_in_background", {3})) == Value());
  for (const auto& one : beats) {
    const int before = one.load();
    CHECK(becomes([&] { return one.load() > before; }));
  }
  CHECK(value_of(call("echo", {5})) == Value(5));
  CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());  // While they call.
}

TEST_CASE("A12: an answer to a worker process that is stopped holds nobody up for ever") {
  const WithModule running(1);
  const Functions functions;
  const auto threads = test::threads_of_this_process();
  const auto stop = PythonExecutor::register_function("stop", [](int pid) {
    ::kill(pid, SIGSTOP);
    return Bytes{std::string(8 << 20, 'x')};  // More than its socket takes.
  });
  auto outcome = PythonExecutor::parallel(std::vector(1, call("stop_me")),
                                          {.timeout = 1s, .mode = ExecutionMode::process});
  const auto all = outcome.get();
  REQUIRE(all.ok());
  CHECK(all->front().error().code == Errc::timeout);
  CHECK(value_of(call("echo", {5})) == Value(5));
  CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  CHECK(test::no_threads_are_left_but(threads));
}

TEST_CASE("A12: a function ends its own registration while a worker process calls it") {
  const WithModule running(1);
  Registration registration;
  std::latch has_ended{1};
  registration = PythonExecutor::register_function("ends_itself", [&] {
    registration.reset();
    has_ended.count_down();
    return true;
  });
  CHECK(value_of(call("end_itself")) == Value(Array{true, "AttributeError"}));
  has_ended.wait();  // Long since; but what went by way of another process tells nobody of memory.
}

TEST_CASE("A12: the end of a registration waits for the call of a worker process that has died") {
  const WithModule running(1);
  auto held = std::make_unique<HeldFunction>();
  OnePermit one("of one that has died");
  auto outcome = PythonExecutor::parallel(std::vector(1, call("take_and_wait")),
                                          {.mode = ExecutionMode::process});
  REQUIRE(becomes([&] { return held->waiting() == 1; }));
  ::kill(one.takers().front(), SIGKILL);
  CHECK(outcome.get()->front().error().code == Errc::worker_lost);
  CHECK(one.figures().held == 0);
  held.reset();  // Lets it go, and waits for it.
}

TEST_CASE("A12: a shutdown ends 100 calls of functions, in threads and awaited, in two processes") {
  const WithModule running;
  HeldFunction held;
  auto outcome = PythonExecutor::parallel(
      std::vector{call("wait_in_threads", {49}), call("wait_awaiting", {50})},
      {.mode = ExecutionMode::process});
  REQUIRE(becomes([&] { return held.waiting() == 51; }));  // Of those awaited one at a time.
  CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  REQUIRE(outcome.is_ready());
  CHECK(outcome.get().error().code == Errc::cancelled);
}

TEST_CASE("A12: a function that a worker process calls may shut the executor down") {
  const WithModule running(1);
  const auto killer = PythonExecutor::register_function("kill", [](int /*pid*/) {
    return PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok();
  });
  auto outcome =
      PythonExecutor::parallel(std::vector(1, call("kill_me")), {.mode = ExecutionMode::process});
  REQUIRE(outcome.wait_for(patience));
  CHECK(outcome.get().error().code == Errc::cancelled);
  CHECK(becomes([] { return !PythonExecutor::is_initialized(); }));
}

#if PY_VERSION_HEX >= 0x030c0000 && !defined(Py_GIL_DISABLED)

TEST_CASE("A12: one script says the same in interpreters of their own, also while others call") {
  PythonExecutor::Config config{.num_workers = 2, .use_subinterpreters = true};
  config.allow_unsafe_subinterpreters = true;
  const WithModule running(config);
  const Functions functions;
  const Value elsewhere = value_of(script("script"));
  const auto own = PythonExecutor::call("the_script", "script");
  REQUIRE_MESSAGE(own.ok(), (own.ok() ? "" : own.error().message + own.error().traceback));
  CHECK(*own == elsewhere);
  // A thread of Python's that waits for a task has to leave a worker free for it.
  struct Way {
    ExecutionMode mode;
    const char* function;
  };
  const std::vector<Way> ways{{ExecutionMode::subinterp, "script"},
                              {ExecutionMode::subinterp, "script_in_pool"},
                              {ExecutionMode::multi_executor, "script"},
                              {ExecutionMode::process, "script_in_pool"}};
  for (const Way& way : ways) {
    CAPTURE(to_string(way.mode));
    CAPTURE(way.function);
    const std::vector calls(4, script("again", {way.function, 10}));
    for (const auto& said : outcomes_of(calls, way.mode)) {
      REQUIRE_MESSAGE(said.ok(), (said.ok() ? "" : said.error().message));
      CHECK(*said == elsewhere);
    }
  }
  const auto pooled = PythonExecutor::call("the_script", "script_in_pool");
  REQUIRE_MESSAGE(pooled.ok(), (pooled.ok() ? "" : pooled.error().message));
  CHECK(*pooled == elsewhere);
}

TEST_CASE("A13: functions that interpreters of their own call may call them again, some deep") {
  PythonExecutor::Config config{.num_workers = 2, .use_subinterpreters = true};
  config.allow_unsafe_subinterpreters = true;
  const WithModule running(config);
  const auto deeper = PythonExecutor::register_function(
      "deeper", [](int depth) { return PythonExecutor::call("the_script", "nested", {depth}); });
  for (const ExecutionMode mode : {ExecutionMode::subinterp, ExecutionMode::multi_executor}) {
    CAPTURE(to_string(mode));
    for (const auto& outcome : outcomes_of(std::vector(4, script("nested", {100})), mode)) {
      REQUIRE_MESSAGE(outcome.ok(), (outcome.ok() ? "" : outcome.error().message));
      CHECK(*outcome == Value(100));
    }
  }
}

#endif

}  // namespace unirun::python
