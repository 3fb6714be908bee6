// C++ functions that Python code calls: E12 of the contract.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "executors/python/async/asyncio_mailbox.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/python_executor.h"
#include "executors/python/values/conversion.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "tests/python_executor/loop_thread.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

constexpr Duration patience = 120s;

struct Running {
  explicit Running(std::uint32_t workers = 2) {
    const auto started = PythonExecutor::start({.num_workers = workers});
    REQUIRE_MESSAGE(started.ok(), (started.ok() ? "" : started.error().message));
  }
  ~Running() { static_cast<void>(PythonExecutor::shutdown({.drain = 0s})); }
};

// Statements on a worker, in names of their own; what they leave as `it`, or how they failed.
future<Value> run(std::string code) {
  return PythonExecutor::submit([code = std::move(code)]() -> Result<Value> {
    const Reference names = Reference::steal(PyDict_New());
    PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins());
    PyDict_SetItemString(names.get(), "__name__",
                         Reference::steal(PyUnicode_FromString("test")).get());
    const Reference done =
        Reference::steal(PyRun_String(code.c_str(), Py_file_input, names.get(), names.get()));
    if (!done) return error_of_exception();
    PyObject* const it = PyDict_GetItemString(names.get(), "it");
    return it != nullptr ? to_value(it) : Value();
  });
}

Value value_of(std::string code) {
  auto outcome = run(std::move(code));
  REQUIRE(outcome.wait_for(patience));
  auto value = outcome.get();
  REQUIRE_MESSAGE(value.ok(), (value.ok() ? "" : value.error().traceback));
  return *std::move(value);
}

int add(int one, int other) { return one + other; }

}  // namespace

TEST_CASE("A12: a C++ function is called by its name, as an attribute and by an import") {
  const Running running;
  const auto sum = PythonExecutor::register_function("add", add);
  const auto greet = PythonExecutor::register_function(
      "greet", [](const std::string& who, std::optional<std::string> how) {
        return how.value_or("hello") + " " + who;
      });
  const auto nothing = PythonExecutor::register_function("nothing", [] {});
  CHECK(value_of("import unirun\nit = unirun.call('add', 1, 2)") == Value(3));
  CHECK(value_of("import unirun\nit = unirun.functions.add(2, 3)") == Value(5));
  CHECK(value_of("from unirun.functions import add\nit = [add(3, 4), add.__name__, repr(add)]") ==
        Value(Array{7, "add", "<C++ function add>"}));
  CHECK(value_of("import unirun.functions\nit = unirun.functions.greet('you')") ==
        Value("hello you"));
  CHECK(value_of("import unirun\nit = unirun.call('greet', 'you', 'hi')") == Value("hi you"));
  CHECK(value_of("import unirun\nit = unirun.call('nothing')") == Value());
  CHECK(value_of("import unirun\nit = dir(unirun.functions)") ==
        Value(Array{"add", "greet", "nothing"}));
}

TEST_CASE("A12: a function may take all arguments as they come, by place and by name") {
  const Running running;
  const auto all = PythonExecutor::register_function("all", [](Args args, Kwargs kwargs) {
    return Value(Array{std::move(args).values(), std::move(kwargs)});
  });
  CHECK(value_of("import unirun\nit = unirun.call('all', 1, 'two', [3], four=4, five=None) == "
                 "[[1, 'two', [3]], {'four': 4, 'five': None}]") == Value(true));
  CHECK(value_of("import unirun\nit = unirun.call('all', name=1) == [[], {'name': 1}]") ==
        Value(true));
  CHECK(value_of("import unirun\nit = unirun.call('all', **{'a\\0b': 1, 'a': 2}) == "
                 "[[], {'a\\0b': 1, 'a': 2}]") == Value(true));
}

TEST_CASE("A12: what is wrong with a call is said, and which argument it is") {
  const Running running;
  const auto sum = PythonExecutor::register_function("add", add);
  const auto raised = [](const std::string& call) {
    const std::string code = "import unirun\ntry:\n  " + call +
                             "\nexcept Exception as e:\n  it = type(e).__name__ + ': ' + str(e)\n";
    return value_of(code).as_string();
  };
  CHECK(raised("unirun.call('add', 1)") == "TypeError: add(): expected 2 arguments, got 1");
  CHECK(raised("unirun.call('add', 1, 'x')")
            .starts_with("TypeError: add(): argument 2: expected an integer"));
  CHECK(raised("unirun.call('add', 1, 2**80)").starts_with("TypeError: add(): argument 2:"));
  CHECK(raised("unirun.call('add', 1, b=2)").find("by the name 'b'") != std::string::npos);
  CHECK(raised("unirun.call('none')") ==
        "AttributeError: no C++ function is registered under the name 'none'");
  CHECK(raised("unirun.functions.none").starts_with("AttributeError: no C++ function"));
  CHECK(raised("from unirun.functions import none")
            .starts_with("ImportError: cannot import name 'none' from 'unirun.functions'"));
  CHECK(raised("unirun.call()").starts_with("TypeError: the first argument"));
  CHECK(raised("unirun.call(1)").starts_with("TypeError: the first argument"));
  CHECK(value_of("import unirun\nit = hasattr(unirun.functions, 'other')") == Value(false));
}

TEST_CASE("A12: a name that is taken or none, and a loop that is missing, are refused") {
  const auto first = PythonExecutor::register_function("taken", add);
  CHECK(first.ok());
  const auto second = PythonExecutor::register_function("taken", add);
  REQUIRE_FALSE(second.ok());
  CHECK(second.error()->code == Errc::unsupported);
  CHECK(second.error()->message.find("is taken") != std::string::npos);
  CHECK_FALSE(PythonExecutor::register_function("", add).ok());
  CHECK_FALSE(PythonExecutor::register_function("__dir__", add).ok());
  CHECK_FALSE(PythonExecutor::register_function("\xff", add).ok());
  CHECK_FALSE(PythonExecutor::register_function("on_loop", add, {.thread = On::loop}).ok());
}

TEST_CASE("A12: a C++ exception becomes the closest of Python's, with its type in a note") {
  const Running running;
  LoopThread elsewhere;
  const auto thrower = [] { throw std::out_of_range("no such row"); };
  const auto here = PythonExecutor::register_function("here", thrower);
  const auto there = PythonExecutor::register_function(
      "there", thrower, {.thread = On::loop, .loop = &elsewhere.loop()});
  const auto wrong = PythonExecutor::register_function(
      "wrong", []() -> Result<int> { return Error{.code = Errc::timeout, .message = "too late"}; });
  for (const char* name : {"here", "there"}) {
    CHECK(value_of(std::string("import unirun\ntry:\n  unirun.call('") + name +
                   "')\nexcept IndexError as e:\n  it = [str(e), e.__notes__[0]]\n") ==
          Value(Array{"no such row", "C++ exception: std::out_of_range"}));
  }
  CHECK(value_of("import unirun\ntry:\n  unirun.call('wrong')\nexcept TimeoutError as e:\n"
                 "  it = [str(e), e.errc]\n") == Value(Array{"too late", "timeout"}));
}

TEST_CASE("A12: a Python exception that crosses C++ is the same object on the other side") {
  const Running running(1);
  const auto pass_on =
      PythonExecutor::register_function("pass_on", [](const Ref& callable) -> Result<Value> {
        const GILGuard guard;
        const Reference value = Reference::steal(PyObject_CallNoArgs(callable.get()));
        if (!value) return error_of_exception(Keep::exception);
        return to_value(value.get());
      });
  CHECK(value_of(R"(
import unirun
thrown = KeyError("mine")
def throw():
    raise thrown
try:
    unirun.call('pass_on', throw)
except KeyError as caught:
    it = caught is thrown
)") == Value(true));
}

TEST_CASE("A12: a function of a loop runs on its thread, and a worker serves others meanwhile") {
  const Running running(1);
  LoopThread elsewhere;
  std::latch served(1);
  std::latch on_loop(1);
  std::atomic<std::thread::id> ran_on{};
  const auto there =
      PythonExecutor::register_function("there",
                                        [&](int value) {
                                          ran_on = std::this_thread::get_id();
                                          on_loop.count_down();
                                          served.wait();
                                          return value + 1;
                                        },
                                        {.thread = On::loop, .loop = &elsewhere.loop()});
  REQUIRE(there.ok());
  auto outcome = run("import unirun\nit = unirun.call('there', 41)");
  on_loop.wait();
  auto other = PythonExecutor::submit([&] { served.count_down(); });  // On the only worker.
  REQUIRE(outcome.wait_for(patience));
  CHECK(*outcome.get() == Value(42));
  CHECK(ran_on.load() != std::this_thread::get_id());
  CHECK(other.get().ok());
}

TEST_CASE("A12: a loop that has ended answers loop_stopped, and nobody waits for it") {
  const Running running(1);
  const SystemClock clock;
  auto loop = std::make_unique<EventLoop>(clock);  // That runs no more when the call comes.
  const auto there = PythonExecutor::register_function("there", [](int value) { return value; },
                                                       {.thread = On::loop, .loop = loop.get()});
  auto outcome =
      run("import unirun\n"
          "try:\n  it = unirun.call('there', 1)\n"
          "except RuntimeError as e:\n  it = e.errc\n");
  const auto is_queued = [] {
    const auto chains = PythonExecutor::get_stats().waiting;
    return std::ranges::any_of(
        chains, [](const auto& chain) { return chain.back() == "C++ function 'there' (queued)"; });
  };
  const Instant last = SystemClock().now() + patience;
  while (!is_queued()) {
    REQUIRE(SystemClock().now() < last);
    std::this_thread::yield();
  }
  loop.reset();  // What it had not run is dropped with it.
  REQUIRE(outcome.wait_for(patience));
  CHECK(*outcome.get() == Value("loop_stopped"));
}

TEST_CASE("A12: a function may answer by a future") {
  const Running running(1);
  const auto later = PythonExecutor::register_function(
      "later", [](int value) { return PythonExecutor::submit([value] { return value * 2; }); });
  const auto object = PythonExecutor::register_function(
      "object", [] { return PythonExecutor::submit([] { return PyUnicode_FromString("made"); }); });
  CHECK(value_of("import unirun\nit = unirun.call('later', 21)") == Value(42));
  CHECK(value_of("import unirun\nit = unirun.call('object')") == Value("made"));
}

TEST_CASE("A12: a coroutine awaits functions of its own thread, of a loop, and futures") {
  const Running running(2);
  LoopThread elsewhere;
  const auto sum = PythonExecutor::register_function("add", add);
  const auto there = PythonExecutor::register_function(
      "there", add, {.thread = On::loop, .async = true, .loop = &elsewhere.loop()});
  const auto later = PythonExecutor::register_function(
      "later", [](int value) { return PythonExecutor::submit([value] { return value * 2; }); });
  const auto thrower = PythonExecutor::register_function(
      "thrower", [](int) { throw std::invalid_argument("not so"); },
      {.thread = On::loop, .loop = &elsewhere.loop()});
  CHECK(value_of(R"(
import asyncio, unirun
async def main():
    answers = await asyncio.gather(unirun.async_call('add', 1, 2), unirun.async_call('there', 3, 4),
                                   unirun.async_call('later', 5), *(unirun.async_call('there', i, i) for i in range(500)))
    try:
        await unirun.async_call('thrower', 1)
    except ValueError as error:
        answers.append(str(error))
    try:
        unirun.call('there', 1, 2)
    except RuntimeError as error:
        answers.append('async_call' in str(error))
    return answers
answers = asyncio.run(main())
it = answers[:3] + answers[-2:] + [answers[3:-2] == [2 * i for i in range(500)]]
)") == Value(Array{3, 7, 10, "not so", true, true}));
  CHECK(
      value_of("import unirun\ntry:\n  unirun.async_call('add', 1, 2)\nexcept RuntimeError as e:\n"
               "  it = str(e)\n") == Value("no running event loop"));
}

TEST_CASE("A12: an answer that comes after its coroutine was cancelled is dropped") {
  const Running running(1);
  LoopThread elsewhere;
  std::latch let_go(1);
  const auto slow =
      PythonExecutor::register_function("slow",
                                        [&] {
                                          let_go.wait();
                                          return 1;
                                        },
                                        {.thread = On::loop, .loop = &elsewhere.loop()});
  const auto release = PythonExecutor::register_function("release", [&] { let_go.count_down(); });
  const auto next = PythonExecutor::register_function(
      "next", [] { return 2; }, {.thread = On::loop, .loop = &elsewhere.loop()});
  CHECK(value_of(R"(
import asyncio, unirun
async def main():
    late = unirun.async_call('slow')
    late.cancel()
    unirun.call('release')
    return await unirun.async_call('next'), late.cancelled()
it = list(asyncio.run(main()))
)") == Value(Array{2, true}));
}

TEST_CASE("A12: a loop at the address of one that has ended has a mailbox of its own") {
  const Running running(1);
  // Held, as by a thread that has just posted.
  std::vector<std::shared_ptr<AsyncioMailbox>> mailboxes;
  const auto note = PythonExecutor::register_function(
      "note",
      [&] {
        const Reference asyncio = Reference::steal(PyImport_ImportModule("asyncio"));
        const Reference loop =
            Reference::steal(PyObject_CallMethod(asyncio.get(), "get_running_loop", nullptr));
        mailboxes.push_back(AsyncioMailbox::of_running_loop(loop.get()));
      },
      {.release_gil = false});
  CHECK(value_of(R"(
import asyncio, unirun
async def main():
    unirun.call('note')
for _ in range(50): asyncio.run(main())
it = True
)") == Value(true));
  CHECK(std::set(mailboxes.begin(), mailboxes.end()).size() == 50);
}

TEST_CASE("A12: 32 Python threads each get their own answers") {
  const Running running(2);
  LoopThread elsewhere;
  const auto echo =
      PythonExecutor::register_function("echo", [](std::int64_t value) { return value; });
  const auto there = PythonExecutor::register_function(
      "there", [](std::int64_t value) { return value; },
      {.thread = On::loop, .release_gil = false, .loop = &elsewhere.loop()});
  CHECK(value_of(R"(
import threading, unirun
wrong = []
def ask(thread):
    call, echo = unirun.call, unirun.functions.echo
    for i in range(5000):
        value = thread * 1_000_000 + i
        if call('echo', value) != value or echo(value) != value:
            wrong.append(value)
        if i % 100 == 0 and call('there', value) != value:
            wrong.append(value)
threads = [threading.Thread(target=ask, args=(n,)) for n in range(32)]
for thread in threads: thread.start()
for thread in threads: thread.join()
it = wrong
)") == Value(Array{}));
}

TEST_CASE("A12: the end of a registration waits for calls that run, and later ones raise") {
  const Running running(2);
  std::latch inside(1);
  std::latch let_go(1);
  std::atomic<bool> ended{false};
  auto slow = PythonExecutor::register_function("slow", [&](bool waits) {
    if (!waits) return;
    inside.count_down();
    let_go.wait();
    ended = true;
  });
  auto outcome = run("import unirun\nunirun.functions.slow(True)\nit = 'returned'\n");
  inside.wait();
  // Once its end has begun, which shows by the name.
  std::thread other([&] {
    while (PythonExecutor::call("unirun", "call", {"slow", false}).ok()) std::this_thread::yield();
    CHECK_FALSE(ended.load());
    let_go.count_down();
  });
  slow.reset();
  CHECK(ended.load());
  other.join();
  REQUIRE(outcome.wait_for(patience));
  CHECK(*outcome.get() == Value("returned"));
  const auto later = PythonExecutor::call("unirun", "call", {"slow", true});
  REQUIRE_FALSE(later.ok());
  CHECK(later.error().type == "builtins.AttributeError");
  CHECK(later.error().message == "no C++ function is registered under the name 'slow'");
}

TEST_CASE("A12: a function may end its own registration, and a later one takes the name over") {
  const Running running(1);
  Registration own;
  own = PythonExecutor::register_function("own", [&] {
    own.reset();
    return 1;
  });
  CHECK(value_of("import unirun, builtins\nbuiltins.kept = unirun.functions.own\nit = kept()") ==
        Value(1));
  CHECK_FALSE(own.ok());
  const auto again = PythonExecutor::register_function("own", [] { return 2; });
  CHECK(value_of("import builtins\nit = kept()\ndel builtins.kept") == Value(2));
}

TEST_CASE("A12: functions come and go while threads call them") {
  const Running running(2);
  std::atomic<bool> over{false};
  std::atomic<int> calls{0};
  const auto come_and_go = [&] {
    const int before = calls.fetch_add(1);
    calls.notify_all();
    return before;
  };
  auto first = PythonExecutor::register_function("come_and_go", come_and_go);
  const auto is_over = PythonExecutor::register_function("is_over", [&] { return over.load(); });
  auto outcome = run(R"(
import threading, unirun
wrong = []
def ask():
    while not unirun.call('is_over'):
        try:
            unirun.functions.come_and_go()
        except AttributeError:
            pass
        except BaseException as error:
            wrong.append(repr(error))
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
it = wrong
)");
  for (int i = 0; i < 300; ++i) {
    first.reset();
    const int before = calls.load();
    first = PythonExecutor::register_function("come_and_go", come_and_go);
    REQUIRE(first.ok());
    // One more call, so that each has its time.
    calls.wait(before);
  }
  over = true;
  REQUIRE(outcome.wait_for(patience));
  CHECK(*outcome.get() == Value(Array{}));
}

}  // namespace unirun::python
