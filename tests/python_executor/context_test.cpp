// Contexts: E07 of the contract, and what of E06 and E18 is theirs.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <latch>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "executors/python/contexts/context_state.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/python_executor.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "tests/python_executor/executor_fixture.h"

namespace unirun::python {
namespace {

Context bound(BindOptions options = {}) {
  auto context = PythonExecutor::bind(std::move(options));
  REQUIRE_MESSAGE(context.ok(), (context.ok() ? "" : context.error().message));
  return *std::move(context);
}

template <class T>
void require_ok(const Result<T>& result) {
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message));
}

template <class T>
Errc code_of(const Result<T>& result) {
  return result.ok() ? Errc::ok : result.error().code;
}

std::size_t resident_kilobytes() {
  std::size_t total = 0;
  std::size_t resident = 0;
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  REQUIRE(file != nullptr);
  const int read = std::fscanf(file, "%zu %zu", &total, &resident);
  std::fclose(file);
  REQUIRE(read == 2);
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) / 1024;
}

const char* const counter = R"(
import threading
n = 0
threads = set()
def add():
    global n
    n += 1
    threads.add(threading.get_native_id())
    return n
)";

}  // namespace

TEST_CASE("A07: a name with a NUL in it or that is no text is refused, and not cut short") {
  const Running running;
  const auto refused = PythonExecutor::bind({.name = std::string("cart\0x", 6)});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::unsupported);
  CHECK_MESSAGE(refused.error().message.starts_with("bind: the name: \"cart\\x00x\" has a NUL"),
                refused.error().message);
  const auto no_text = PythonExecutor::bind({.name = "\xff"});
  REQUIRE_FALSE(no_text.ok());
  CHECK(no_text.error().message == "bind: the name: \"\\xff\" is not UTF-8");
}

TEST_CASE("A07: a thousand bound counters interleave over four workers and end exact") {
  const Running running({.num_workers = 4});
  constexpr std::size_t contexts = 1000;
  constexpr int rounds = 12;
  constexpr std::size_t callers = 4;
  std::vector<Context> counters;
  for (std::size_t at = 0; at < contexts; ++at) counters.push_back(bound({.preload = counter}));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t caller = 0; caller < callers; ++caller) {
    threads.emplace_back([&, caller] {
      for (int round = 0; round < rounds; ++round) {
        for (std::size_t at = 0; at < contexts; ++at) {
          Context& context = counters[(at + caller * 250) % contexts];
          if (!context.call("__main__", "add").ok()) wrong.fetch_add(1);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
  std::map<std::uint64_t, int> contexts_of_thread;
  for (Context& context : counters) {
    CHECK(*context.eval("n") == Value(rounds * static_cast<int>(callers)));
    const auto seen = context.eval("list(threads)");
    require_ok(seen);
    CHECK(*seen == Value(Array{context.thread_id()}));
    ++contexts_of_thread[context.thread_id()];
  }
  CHECK(contexts_of_thread.size() == 4);
  for (const auto& [thread, count] : contexts_of_thread) CHECK(count == 250);
}

TEST_CASE("A07: what a context holds dies when it closes, the last first, on its own thread") {
  const Running running({.num_workers = 2});
  Context watcher = bound({.preload = R"(
log = []
def note(*what): log.append(list(what))
)"});
  const auto note = watcher.eval("note");
  require_ok(note);
  {
    Context context = bound({.preload = R"(
import threading, weakref
class Thing:
    def __init__(self, name): self.name = name
    def __del__(self): note(self.name, threading.get_native_id(), 'Thing' in globals())
)"});
    require_ok(context.exec("note = None"));
    require_ok(context.eval("globals().update(note=f)", {{"f", *note}}));
    require_ok(context.exec("first = Thing('first')\nsecond = Thing('second')"));
    require_ok(context.exec("alive = weakref.ref(second, lambda _: note('gone'))"));
    CHECK(*watcher.eval("log") == Value(Array{}));
    const std::uint64_t thread = context.thread_id();
    CHECK(context.close().ok());
    CHECK(*watcher.eval("log") ==
          Value(Array{Array{"second", thread, true}, Array{"first", thread, true}}));
    CHECK(code_of(context.eval("1")) == Errc::unsupported);
    CHECK(code_of(context.call("math", "sqrt", {4})) == Errc::unsupported);
    CHECK(context.close().ok());
  }
}

TEST_CASE("A07: an exception in a destructor is Python's hook's, wherever the object dies") {
  const Running running({.num_workers = 2});
  Context watcher = bound({.preload = R"(
import sys
raised = []
sys.unraisablehook = lambda it: raised.append(it.exc_type.__name__)
class Mine:
    def __init__(self, kind): self.kind = kind
    def __del__(self): raise self.kind('in a destructor')
def make(kind): return Mine(kind)
def drop(): make(SystemExit)
)"});
  const auto has_raised = [&](const char* kind) {
    const Instant last = SystemClock().now() + 60s;
    while (*watcher.eval("kind in raised", {{"kind", kind}}) != Value(true))
      REQUIRE(SystemClock().now() < last);
  };
  // In a call, whose outcome is another.
  require_ok(watcher.call("__main__", "drop"));
  has_raised("SystemExit");
  // Of a Ref that this thread drops, which has no GIL.
  require_ok(watcher.eval("make(ValueError)"));
  has_raised("ValueError");
  // Of what a future holds that nobody reads.
  const auto make = watcher.eval("make");
  require_ok(make);
  {
    auto unread = PythonExecutor::submit(
        [make = make->as_ref()] { return PyObject_CallOneArg(make.get(), PyExc_KeyError); });
    REQUIRE(unread.wait_for(60s));
  }
  has_raised("KeyError");
  // Of a context that closes.
  {
    Context other = bound();
    require_ok(other.eval("globals().update(it=f(KeyboardInterrupt))", {{"f", *make}}));
    CHECK(other.close().ok());
  }
  has_raised("KeyboardInterrupt");
  require_ok(watcher.exec("sys.unraisablehook = sys.__unraisablehook__"));
}

TEST_CASE("A07: a weak reference to what a context held is dead once it is closed") {
  const Running running({.num_workers = 2});
  Context keeper = bound();
  Context context = bound({.preload = "class Thing: pass\nthing = Thing()"});
  {
    const auto thing = context.eval("thing");
    require_ok(thing);
    require_ok(
        keeper.eval("globals().update(ref=__import__('weakref').ref(thing))", {{"thing", *thing}}));
  }
  CHECK(*keeper.eval("ref() is None") == Value(false));
  CHECK(context.close().ok());
  CHECK(*keeper.eval("ref() is None") == Value(true));
}

TEST_CASE("A07: ten thousand contexts that open and close leave memory as it was") {
  const Running running({.num_workers = 2});
  const auto cycle = [](int times) {
    for (int at = 0; at < times; ++at) {
      Context context = bound({.preload = "block = bytearray(4096)\ndef use(): return len(block)"});
      REQUIRE(*context.call("__main__", "use") == Value(4096));
      REQUIRE(context.close().ok());
    }
  };
  cycle(1000);
  const std::size_t before = resident_kilobytes();
  cycle(10'000);
  // Each keeps more than 4 KiB while it lives: growth would be 40 MiB.
  CHECK(resident_kilobytes() < before + 10 * 1024);
}

TEST_CASE("A07: names are a context's own, or those of __main__ where that is wanted") {
  const Running running({.num_workers = 1});
  Context one = bound();
  Context other = bound();
  require_ok(one.exec("x = 1"));
  require_ok(other.exec("x = 2"));
  CHECK(*one.eval("x") == Value(1));
  CHECK(*other.eval("x") == Value(2));
  CHECK(one.id() != other.id());
  CHECK(one.thread_id() == other.thread_id());
  CHECK(one.interpreter_id() == 0);
  CHECK(*one.eval("__name__") == Value("__main__"));

  Context shared = bound({.namespace_ = Namespace::main});
  require_ok(shared.exec("common = 3"));
  CHECK(*bound({.namespace_ = Namespace::main}).eval("common") == Value(3));
  CHECK(code_of(shared.reset()) == Errc::unsupported);
  CHECK(shared.close().ok());
  Context again = bound({.namespace_ = Namespace::main});
  CHECK(*again.eval("common") == Value(3));
  require_ok(again.exec("del common"));
}

TEST_CASE("A07: a reset begins anew, with the preload, on the same thread") {
  const Running running({.num_workers = 2});
  Context context = bound({.preload = "n = 10"});
  const std::uint64_t thread = context.thread_id();
  require_ok(context.exec("n = 11\nm = 12"));
  require_ok(context.reset());
  CHECK(*context.eval("n") == Value(10));
  CHECK(code_of(context.eval("m")) == Errc::python_exception);
  CHECK(*context.eval("__import__('threading').get_native_id()") == Value(thread));
}

TEST_CASE("A07: a module is reloaded, and imported where it was not") {
  const Running running({.num_workers = 1});
  Context context = bound();
  require_ok(context.exec("import json.tool; json.tool.mark = 1"));
  require_ok(context.reload("json.tool"));
  CHECK(*context.eval("json.tool.mark") == Value(1));  // The module is the same, executed anew.
  require_ok(context.exec("import sys; sys.modules.pop('this_is_new', None)"));
  CHECK(code_of(context.reload("no_such_module")) == Errc::import_failed);
  CHECK(code_of(context.reload("no module")) == Errc::import_failed);
  require_ok(context.reload("colorsys"));
}

TEST_CASE("A07: a preload that raises fails the bind, and says where") {
  const Running running({.num_workers = 1});
  const auto failed = PythonExecutor::bind({.name = "shop", .preload = "x = 1\nx.y"});
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().code == Errc::python_exception);
  CHECK(failed.error().type == "builtins.AttributeError");
  CHECK(failed.error().message.find("shop") != std::string::npos);
  CHECK(failed.error().traceback.find("File \"<shop>\", line 2") != std::string::npos);
  CHECK(*bound().eval("1") == Value(1));
  CHECK(code_of(PythonExecutor::bind({.mode = ExecutionMode::subinterp})) == Errc::unsupported);
}

TEST_CASE("A06: code is evaluated with locals, executed, and fails with its place") {
  const Running running({.num_workers = 1});
  Context context = bound({.name = "desk"});
  require_ok(context.exec("def twice(x):\n  return 2 * x"));
  CHECK(*context.eval("twice(x) + y", {{"x", 20}, {"y", 2}}) == Value(42));
  CHECK(*context.eval("  twice(4)") == Value(8));
  CHECK(*context.call_as<int>("__main__", "twice", {21}) == 42);
  CHECK(code_of(context.eval("x")) == Errc::python_exception);
  const auto syntax = context.exec("x = (");
  REQUIRE_FALSE(syntax.ok());
  CHECK(syntax.error().type == "builtins.SyntaxError");
  CHECK(code_of(context.exec(std::string("x = 1\0", 6))) == Errc::python_exception);
  CHECK(code_of(context.exec("x = '\xff'")) == Errc::conversion);
  CHECK(code_of(context.call("__main__", "thrice")) == Errc::unknown_function);
  require_ok(context.exec("number = 1"));
  CHECK(code_of(context.call("__main__", "number")) == Errc::not_callable);
}

TEST_CASE("A06: objects are used by their Ref: attributes and methods") {
  const Running running({.num_workers = 1});
  Context context = bound({.preload = R"(
class Account:
    def __init__(self): self.total = 0
    def put(self, amount, times=1): self.total += amount * times; return self.total
)"});
  const auto account = context.call("__main__", "Account");
  require_ok(account);
  const Ref& ref = account->as_ref();
  CHECK(*context.call_method(ref, "put", {20}) == Value(20));
  CHECK(*context.call_method(ref, "put", {2}, {{"times", 11}}) == Value(42));
  CHECK(*context.getattr(ref, "total") == Value(42));
  CHECK(code_of(context.getattr(ref, "nothing")) == Errc::unknown_function);
  CHECK(code_of(context.call_method(ref, "nothing")) == Errc::unknown_function);
  CHECK(code_of(context.call_method(ref, "total")) == Errc::not_callable);
  CHECK(code_of(context.getattr(Ref(), "total")) == Errc::conversion);
}

TEST_CASE("A07: tasks may be submitted for a context, in order, and only its worker runs them") {
  const Running running({.num_workers = 3});
  Context context = bound();
  std::vector<future<std::uint64_t>> outcomes;
  std::vector<int> order;
  for (int at = 0; at < 100; ++at) {
    outcomes.push_back(PythonExecutor::submit(
        [at, &order] {
          order.push_back(at);
          return static_cast<std::uint64_t>(::gettid());
        },
        {.context = context.id()}));
  }
  for (auto& outcome : outcomes) CHECK(*outcome.get() == context.thread_id());
  CHECK(order.size() == 100);
  CHECK(std::ranges::is_sorted(order));
}

TEST_CASE("A07: what is queued for a context that closes still runs, and nothing after it") {
  const Running running({.num_workers = 1, .queue_size = 0});
  Context context = bound();
  const ContextId id = context.id();
  Gated gate;
  auto busy = PythonExecutor::submit(gate.task());
  gate.wait_until_running();
  auto queued = PythonExecutor::submit([] { return 7; }, {.context = id, .priority = 3});
  std::thread closer([context = std::move(context)]() mutable { CHECK(context.close().ok()); });
  // Accepted until it closes, and run; then refused.
  std::vector<future<int>> accepted;
  for (;;) {
    auto outcome = PythonExecutor::submit([] { return 8; }, {.context = id});
    if (outcome.is_ready()) {
      CHECK(code_of(outcome) == Errc::unsupported);
      break;
    }
    accepted.push_back(std::move(outcome));
  }
  gate.let_go();
  closer.join();
  CHECK(*queued.get() == 7);
  for (auto& outcome : accepted) CHECK(*outcome.get() == 8);
}

TEST_CASE("A07: a context may be closed by its own code, and ends when that has") {
  const Running running({.num_workers = 1});
  Context context = bound({.preload = "x = 5"});
  auto outcome = PythonExecutor::submit(
      [&context]() -> Result<Value> {
        if (auto closed = context.close(); !closed.ok()) return closed.error();
        return ContextState::current()->eval("x", {});
      },
      {.context = context.id()});
  CHECK(*outcome.get() == Value(5));
  CHECK(context.close().ok());
}

TEST_CASE("A07: contexts call one another, also with one worker") {
  for (const std::uint32_t workers : {1U, 2U}) {
    const Running running({.num_workers = workers});
    Context one = bound({.preload = "x = 1"});
    Context other = bound({.preload = "x = 2"});
    auto outcome = PythonExecutor::submit(
        [&]() -> Result<Value> {
          auto inner = other.eval("x");
          if (!inner.ok()) return inner.error();
          auto unbound = PythonExecutor::call("math", "sqrt", {16});
          if (!unbound.ok()) return unbound.error();
          return Value(Array{*inner, *unbound, *one.eval("x")});
        },
        {.context = one.id()});
    const auto result = outcome.get();
    require_ok(result);
    CHECK(*result == Value(Array{2, 4.0, 1}));
  }
}

TEST_CASE("A07: contexts whose code closes the next in a ring all end, each waited for or not") {
  for (const std::size_t size : {2U, 3U}) {
    for (const bool share_worker : {true, false}) {
      const Running running({.num_workers = share_worker ? 1U : static_cast<std::uint32_t>(size)});
      for (int turn = 0; turn < 50; ++turn) {
        std::vector<Context> ring;
        for (std::size_t n = 0; n < size; ++n) ring.push_back(bound());
        // All begin before the first closes; on one worker all are queued by then.
        std::latch begun{static_cast<std::ptrdiff_t>(size)};
        Gated gate;
        future<void> first;
        if (share_worker) {
          first = PythonExecutor::submit(gate.task());
          gate.wait_until_running();
        }
        std::vector<future<Errc>> closing;
        for (std::size_t n = 0; n < size; ++n) {
          closing.push_back(PythonExecutor::submit(
              [&, n] {
                if (!share_worker) {
                  const GILRelease released;
                  begun.arrive_and_wait();
                }
                return code_of(ring[(n + 1) % size].close());
              },
              {.context = ring[n].id()}));
        }
        gate.let_go();
        for (auto& code : closing) {
          REQUIRE(code.wait_for(patience));
          CHECK(*code.get() == Errc::ok);
        }
        for (Context& context : ring) {
          CHECK(context.close().ok());
          CHECK(code_of(context.exec("pass")) == Errc::unsupported);
        }
      }
    }
  }
}

TEST_CASE("A07: a context is closed by code that it has called in another, and ends after it") {
  for (const std::uint32_t workers : {1U, 2U}) {
    const Running running({.num_workers = workers});
    Context one = bound();
    Context other = bound();
    const auto close_caller = PythonExecutor::register_function(
        "close_caller", [&] { return std::string(to_string(code_of(one.close()))); });
    auto outcome = PythonExecutor::submit(
        [&] { return other.eval("__import__('unirun').call('close_caller')"); },
        {.context = one.id()});
    REQUIRE(outcome.wait_for(patience));
    const auto result = outcome.get();
    require_ok(result);
    CHECK(*result == Value("ok"));
    CHECK(one.close().ok());
    CHECK(other.close().ok());
  }
}

TEST_CASE("A07: a task that has let go of the GIL calls its own context") {
  const Running running({.num_workers = 1});
  Context context = bound({.preload = "x = 1"});
  auto outcome = PythonExecutor::submit(
      [&] {
        const GILRelease released;
        return context.eval("x");
      },
      {.context = context.id()});
  CHECK(*outcome.get() == Value(1));
}

TEST_CASE("A18: a context is interrupted in its own code alone") {
  const Running running({.num_workers = 1});
  Context quiet = bound();
  Context context = bound();
  CHECK(code_of(context.interrupt()) == Errc::unsupported);
  std::latch begun(1);
  auto endless = PythonExecutor::submit(
      [&]() -> Result<Value> {
        begun.count_down();
        return ContextState::current()->eval("all(True for _ in iter(int, 1))", {});
      },
      {.context = context.id()});
  begun.wait();
  CHECK(code_of(quiet.interrupt()) == Errc::unsupported);
  CHECK(context.interrupt().ok());
  CHECK(code_of(endless) == Errc::interrupted);
  CHECK(*context.eval("1 + 1") == Value(2));
}

TEST_CASE("A07: a context whose worker is given up is lost, and says so to all who wait") {
  const Running running({.num_workers = 1});
  Context context = bound();
  Gated gate;
  auto stuck = PythonExecutor::submit(gate.task(), {.context = context.id()});
  gate.wait_until_running();
  auto waiting = PythonExecutor::submit([] { return 1; }, {.context = context.id()});
  CHECK(stuck.cancel());
  CHECK(code_of(waiting) == Errc::worker_lost);
  CHECK(code_of(context.eval("1")) == Errc::worker_lost);
  CHECK(code_of(context.close()) == Errc::worker_lost);
  CHECK(*bound().eval("1") == Value(1));
  gate.let_go();
}

TEST_CASE("A07: a context outlives its executor, closed") {
  Context context;
  CHECK_FALSE(context.valid());
  {
    const Running running({.num_workers = 1});
    context = bound({.preload = "x = 1"});
    CHECK(context.valid());
  }
  CHECK(code_of(context.eval("x")) == Errc::not_initialized);
  {
    const Running running({.num_workers = 1});
    CHECK(code_of(context.eval("x")) == Errc::unsupported);
    CHECK(context.close().ok());
  }
  CHECK(code_of(PythonExecutor::bind()) == Errc::not_initialized);
}

TEST_CASE("A07: a shutdown cancels what waits for a context, and drops its names") {
  PythonExecutor::Config config{.num_workers = 1};
  Running running(config);
  Context context = bound();
  Gated gate;
  auto busy = PythonExecutor::submit(gate.task(), {.context = context.id()});
  gate.wait_until_running();
  auto waiting = PythonExecutor::submit([] { return 1; }, {.context = context.id()});
  std::thread ender([] { CHECK(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok()); });
  CHECK(code_of(waiting) == Errc::cancelled);
  gate.let_go();
  ender.join();
  CHECK(context.close().ok());
  const Stats stats = PythonExecutor::get_stats();
  CHECK(stats.submitted == stats.tasks_executed + stats.tasks_failed + stats.cancelled);
}

TEST_CASE("A07: a loop's thread is refused what waits, and may close") {
  const Running running({.num_workers = 1});
  Context context = bound();
  const SystemClock clock;
  EventLoop loop(clock);
  std::vector<Errc> codes;
  future<Value> called;
  loop.post([&] {
    codes = {code_of(PythonExecutor::bind()), code_of(context.eval("1")), code_of(context.exec("")),
             code_of(context.reset()), code_of(context.reload("json"))};
    called = PythonExecutor::async_call("math", "sqrt", {4}, {}, {.context = context.id()});
    codes.push_back(code_of(context.close()));
    loop.stop();
  });
  loop.run();
  CHECK(codes == std::vector{Errc::unsupported, Errc::unsupported, Errc::unsupported,
                             Errc::unsupported, Errc::unsupported, Errc::ok});
  CHECK(*called.get() == Value(2.0));
}

}  // namespace unirun::python
