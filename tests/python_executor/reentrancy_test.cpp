// Python that calls C++ that calls Python, to any depth: E13 of the contract, and unirun.shield.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>
#include <pthread.h>

#include <array>
#include <future>
#include <latch>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "executors/python/contexts/context.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/python_executor.h"
#include "executors/python/tasks/task_calls.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception_text.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

constexpr Duration patience = 120s;

// Each level notes itself, and goes through C++ to the next.
constexpr const char* levels_module = R"(
import contextvars, sys, types, unirun
levels = types.ModuleType('levels')
exec('''
import contextvars, unirun
seen = []
deepest = contextvars.ContextVar('deepest', default=0)
def level(n, depth, then=None):
    seen.append(n)
    deepest.set(n)
    if n < depth:
        return unirun.call('again', n + 1, depth, then)
    return then and eval(then)
''', levels.__dict__)
sys.modules['levels'] = levels
)";

class Levels {
 public:
  explicit Levels(std::uint32_t workers = 1) {
    const auto started = PythonExecutor::start({.num_workers = workers});
    REQUIRE_MESSAGE(started.ok(), (started.ok() ? "" : started.error().message));
    again_ = PythonExecutor::register_function("again", [this](int n, int depth, Value then) {
      if (contexts_[0]) {
        auto& context = *contexts_[static_cast<std::size_t>(n % 2)];
        return context.call("levels", "level", {n, depth, std::move(then)});
      }
      return PythonExecutor::call("levels", "level", {n, depth, std::move(then)});
    });
    CHECK(run(levels_module).ok());
  }
  ~Levels() {
    for (auto& context : contexts_) context.reset();
    static_cast<void>(PythonExecutor::shutdown({.drain = 0s}));
  }

  // Every level in the other of two contexts.
  void bind_two() {
    for (auto& context : contexts_) {
      auto bound = PythonExecutor::bind();
      REQUIRE_MESSAGE(bound.ok(), (bound.ok() ? "" : bound.error().message));
      context.emplace(*std::move(bound));
    }
  }

  future<Value> submit(std::string code) {
    return PythonExecutor::submit([code = std::move(code)]() -> Result<Value> {
      const Reference names = Reference::steal(PyDict_New());
      PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins());
      const Reference done =
          Reference::steal(PyRun_String(code.c_str(), Py_file_input, names.get(), names.get()));
      if (!done) return error_of_exception();
      PyObject* const it = PyDict_GetItemString(names.get(), "it");
      return it != nullptr ? to_value(it) : Value();
    });
  }
  Result<Value> run(std::string code) {
    auto outcome = submit(std::move(code));
    REQUIRE(outcome.wait_for(patience));
    auto value = outcome.get();
    CHECK_MESSAGE(value.ok(), (value.ok() ? "" : value.error().traceback));
    return value;
  }

  // How many levels there were, each once and in their order.
  Value depth_reached(int depth) {
    const std::string code =
        "import levels, unirun\nlevels.seen.clear()\nunirun.call('again', 1, " +
        std::to_string(depth) +
        ", None)\nit = len(levels.seen) if levels.seen == "
        "list(range(1, len(levels.seen) + 1)) else levels.seen\n";
    auto value = run(code);
    return value.ok() ? *std::move(value) : Value();
  }

 private:
  std::array<std::optional<Context>, 2> contexts_;
  Registration again_;
};

}  // namespace

TEST_CASE("A13: Python calls C++ calls Python, 10000 deep on one worker, each line run once") {
  Levels levels;
  for (const int depth : {1, 100, 1000, 10000}) CHECK(levels.depth_reached(depth) == Value(depth));
}

TEST_CASE("A13: the same with every level in the other of two contexts") {
  Levels levels(2);
  levels.bind_two();
  for (const int depth : {1, 100, 1000, 10000}) CHECK(levels.depth_reached(depth) == Value(depth));
}

TEST_CASE("A13: deeper than the limit is a RecursionError, and all goes on after it") {
  Levels levels;
  const auto said = levels.run(
      "import levels, unirun\nlevels.seen.clear()\ntry:\n  unirun.call('again', 1, 10001, None)\n"
      "except RecursionError as e:\n  it = [len(levels.seen), e.errc, '10000 deep' in str(e)]\n");
  CHECK(*said == Value(Array{10000, "depth_exceeded", true}));
  CHECK(levels.depth_reached(100) == Value(100));
}

TEST_CASE("A13: eight chains at once all reach their ends") {
  Levels levels(2);
  std::vector<future<Value>> chains;
  for (int i = 0; i < 8; ++i)
    chains.push_back(levels.submit("import unirun\nit = unirun.call('again', 1, 1500, '6 * 7')"));
  for (auto& chain : chains) {
    REQUIRE(chain.wait_for(patience));
    const auto value = chain.get();
    REQUIRE_MESSAGE(value.ok(), (value.ok() ? "" : value.error().traceback));
    CHECK(*value == Value(42));
  }
}

TEST_CASE(
    "A13: an exception from far below is the same object above, and so are its context variables") {
  Levels levels;
  CHECK(*levels.run(R"(
import levels, unirun
levels.thrown = KeyError('from below')
def throw():
    raise levels.thrown
levels.throw = throw
try:
    unirun.call('again', 1, 3000, 'throw()')
except KeyError as caught:
    it = [caught is levels.thrown, levels.deepest.get()]
)") == Value(Array{true, 3000}));
}

TEST_CASE("A13: what runs far below is interrupted where it is, and its worker goes on") {
  Levels levels;
  std::latch reached(1);
  const auto reach = PythonExecutor::register_function("reach", [&] { reached.count_down(); });
  auto outcome = levels.submit(R"(
import levels, unirun
def spin():
    unirun.call('reach')
    while True:
        pass
levels.spin = spin
unirun.call('again', 1, 1000, 'spin()')
)");
  reached.wait();
  CHECK(outcome.cancel());
  CHECK(outcome.get().error().code == Errc::cancelled);
  CHECK(levels.depth_reached(10) == Value(10));
}

// The chain that begins with this thread, once it has so many links.
WaitChain chain_of(std::size_t links) {
  const SystemClock clock;
  const Instant deadline = clock.now() + patience;
  while (clock.now() < deadline) {
    for (WaitChain& chain : PythonExecutor::get_stats().waiting) {
      if (chain.size() >= links) return std::move(chain);
    }
    std::this_thread::yield();
  }
  return {};
}

std::string text_of(const WaitChain& chain) {
  std::string text;
  for (const std::string& name : chain) text += "[" + name + "]";
  return text;
}

bool holds(const std::string& name, std::string_view part) {
  return name.find(part) != std::string::npos;
}

TEST_CASE("A13: who waits for whom is named, down to the code that wants a lock of the user's") {
  REQUIRE(PythonExecutor::start({.num_workers = 2}).ok());
  REQUIRE(PythonExecutor::get_stats().waiting.empty());
  {
    auto first = *PythonExecutor::bind({.name = "first"});
    auto second = *PythonExecutor::bind({.name = "second"});
    const auto pass_on =
        PythonExecutor::register_function("pass_on", [&] { return second.eval("take()"); });
    REQUIRE(second
                .exec("import builtins, threading\nbuiltins.users_lock = threading.Lock()\n"
                      "def take():\n  with users_lock: return 'taken'")
                .ok());
    REQUIRE(first
                .exec("import unirun\n"
                      "def hold():\n  users_lock.acquire()\n  return unirun.call('pass_on')")
                .ok());
    Result<Value> outcome = Value();
    std::thread caller([&] { outcome = first.call("__main__", "hold"); });
    const WaitChain chain = chain_of(4);
    {
      const GILGuard guard;
      PyObject* const names = PyEval_GetBuiltins();
      const Reference done =
          Reference::steal(PyRun_String("users_lock.release()", Py_eval_input, names, names));
      CHECK(static_cast<bool>(done));
    }
    caller.join();
    CHECK((outcome.ok() && *outcome == Value("taken")));
    const std::string text = text_of(chain);
    CAPTURE(text);
    REQUIRE(chain.size() == 4);
    CHECK(holds(chain[0], "thread "));
    CHECK(holds(chain[1], "call() of __main__.hold"));
    CHECK(holds(chain[1], "in context 'first'"));
    CHECK(chain[2] == "C++ function 'pass_on'");
    CHECK(holds(chain[3], "eval()"));
    CHECK(holds(chain[3], "in context 'second'"));
  }
  CHECK(PythonExecutor::get_stats().waiting.empty());
  static_cast<void>(PythonExecutor::shutdown({.drain = 0s}));
}

TEST_CASE("A13: calls beside one another stand in no queue, and a thread keeps its name") {
  REQUIRE(PythonExecutor::start({.num_workers = 1}).ok());
  std::latch may_end(1);
  const auto wait = PythonExecutor::register_function("wait", [&] { may_end.wait(); });
  const std::array calls{CallSpec{"unirun", "call", {"wait"}}};
  std::thread caller([&] {
    static_cast<void>(::pthread_setname_np(::pthread_self(), "the caller"));
    CHECK(PythonExecutor::parallel(calls, {.mode = ExecutionMode::multi_executor}).get().ok());
  });
  const WaitChain parallel = chain_of(2);
  may_end.count_down();
  caller.join();
  const std::string text = text_of(parallel);
  CAPTURE(text);
  REQUIRE(parallel.size() == 2);
  CHECK(holds(parallel[0], "(the caller)"));
  CHECK(parallel[1] == "a task");
  static_cast<void>(PythonExecutor::shutdown({.drain = 0s}));
}

TEST_CASE("A13: a task that two tasks wait for, and one that waits for itself, are named") {
  REQUIRE(PythonExecutor::start({.num_workers = 1}).ok());
  // On one worker: the first waits for the second, which is served on top of it and waits for the
  // first. Nobody but a deadline gets them out.
  std::promise<Shared<Outcome<int>>> first_known;
  auto known = first_known.get_future().share();
  auto first = PythonExecutor::submit([known]() -> Result<int> {
    Shared<Outcome<int>> own;
    {
      const GILRelease released;
      own = known.get();
    }
    auto second =
        PythonExecutor::submit([own] { return wait_until_settled(*own, Instant::max()); });
    static_cast<void>(second.get());
    return 1;
  });
  Shared<Outcome<int>> share = std::move(first).release();
  first_known.set_value(share);
  const WaitChain chain = chain_of(3);
  static_cast<void>(cancel_task(*share));
  const std::string text = text_of(chain);
  CAPTURE(text);
  REQUIRE(chain.size() >= 3);
  CHECK(chain.front() == chain[2]);  // A circle.
  static_cast<void>(PythonExecutor::shutdown({.drain = 0s}));
}

TEST_CASE("A18: what was sent to a task that waits does not strike the one that it serves") {
  Levels levels;
  std::optional<TaskId> id;
  const auto ask = PythonExecutor::register_function(
      "ask",
      [&]() -> Result<Value> {  // With the GIL: nothing is raised before it returns.
        CHECK(PythonExecutor::interrupt(*id));
        CHECK(*levels.submit("it = sum(range(1000))").get() == Value(499500));
        return Value();
      },
      {.release_gil = false});
  std::latch submitted(1);
  const auto wait = PythonExecutor::register_function("wait", [&] { submitted.wait(); });
  auto outcome = levels.submit(R"(
import unirun
unirun.call('wait')
try:
    unirun.call('ask')
    while True:
        pass
except BaseException as error:
    it = type(error).__name__
)");
  id = outcome.id();
  submitted.count_down();
  REQUIRE(outcome.wait_for(patience));
  CHECK(*outcome.get() == Value("Interrupted"));
}

TEST_CASE("A18: a shield keeps an interruption off until its end") {
  Levels levels;
  std::latch inside(1);
  std::latch asked(1);
  const auto wait = PythonExecutor::register_function("wait", [&] {
    inside.count_down();
    asked.wait();
  });
  auto outcome = levels.submit(R"(
import unirun
it = []
try:
    with unirun.shield():
        with unirun.shield():
            unirun.call('wait')
            it.append(sum(range(1000)))
        it.append('whole')
    it.append('not reached')
except BaseException as error:
    it.append(type(error).__name__)
)");
  inside.wait();
  CHECK(PythonExecutor::interrupt(outcome.id()));
  asked.count_down();
  REQUIRE(outcome.wait_for(patience));
  CHECK(*outcome.get() == Value(Array{499500, "whole", "Interrupted"}));
}

TEST_CASE("A18: a shield without an interruption, and one outside of a worker, do nothing") {
  Levels levels;
  CHECK(*levels.run("import threading, unirun\nit = []\ndef go():\n  with unirun.shield():\n"
                    "    it.append(1)\nthread = threading.Thread(target=go)\nthread.start()\n"
                    "thread.join()\ngo()\n") == Value(Array{1, 1}));
}

}  // namespace unirun::python
