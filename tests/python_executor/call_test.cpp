// Calls of Python functions by name: E06 of the contract.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/python_executor.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/executor_fixture.h"
#include "tests/python_executor/module_folder.h"

namespace unirun::python {
namespace {

// A module of that name, made of its source, in place of any other.
void make_module(const std::string& name, const std::string& code) {
  const GILGuard guard;
  const Reference module = Reference::steal(PyModule_New(name.c_str()));
  PyObject* const names = PyModule_GetDict(module.get());
  PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
  const Reference done = Reference::steal(PyRun_String(code.c_str(), Py_file_input, names, names));
  REQUIRE(done);
  PyObject* const modules = PyImport_GetModuleDict();
  REQUIRE(PyDict_SetItemString(modules, name.c_str(), module.get()) == 0);
}

const char* const probe = R"(
class Box:
    size = 3
    @staticmethod
    def weigh(x): return x * 2
    class Lid:
        @classmethod
        def name(cls): return cls.__qualname__

box = Box()
number = 42

def same(x): return x
def all_of(cases): return [twist(x) for x in cases]
def twist(x):
    if isinstance(x, bool) or x is None: return [x, not x]
    if isinstance(x, int): return x // 3 - 1
    if isinstance(x, float): return x / 3
    if isinstance(x, str): return x[::-1] + 'é'
    if isinstance(x, bytes): return x[::-1] + b'\xff\x00'
    if isinstance(x, list): return [twist(y) for y in reversed(x)]
    if isinstance(x, dict): return {k + '!': twist(v) for k, v in x.items()}
    return x
def named(*args, **kwargs): return [list(args), kwargs]
def fail(): raise LookupError('nowhere', 7)
def __getattr__(name):
    if name == 'trap': raise ValueError('sprung')
    raise AttributeError(f'no {name} here')
)";

// One of each kind, and of those that have edges the edges.
Array every_kind() {
  return {nullptr,
          true,
          false,
          0,
          -1,
          std::numeric_limits<std::int64_t>::min(),
          std::numeric_limits<std::int64_t>::max(),
          std::numeric_limits<std::uint64_t>::max(),
          0.0,
          -1.5e300,
          5e-324,
          "",
          "plain",
          std::string("nul\0within", 10),
          "größer 漢字 🐍",
          Bytes{""},
          Bytes{std::string("\x00\xff\x80", 3)},
          Array{},
          Array{1, "two", Array{3.0, nullptr}},
          Object{},
          Object{{"a", 1}, {"b", Object{{"c", Array{Bytes{"d"}}}}}}};
}

Error error_of(const Result<Value>& result) {
  REQUIRE_FALSE(result.ok());
  return result.error();
}

}  // namespace

TEST_CASE("A06: a hundred thousand calls with every kind of value give what Python alone gives") {
  const Running running;
  make_module("probe", probe);
  Array cases = every_kind();
  auto object = PythonExecutor::call("builtins", "object");
  REQUIRE(object.ok());
  REQUIRE(object->is_ref());
  cases.push_back(*object);
  const auto expected = PythonExecutor::call("probe", "all_of", {cases});
  REQUIRE_MESSAGE(expected.ok(), (expected.ok() ? "" : expected.error().message));
  REQUIRE(expected->as_array().size() == cases.size());
  CHECK(expected->as_array()[1] == Value(Array{true, false}));
  for (std::size_t call = 0; call < 100'000; ++call) {
    const std::size_t at = call % cases.size();
    const auto result = PythonExecutor::call("probe", "twist", {cases[at]});
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message));
    REQUIRE(*result == expected->as_array()[at]);
  }
}

TEST_CASE("A06: arguments come by position and by name, and an array is one of them") {
  const Running running;
  make_module("probe", probe);
  const auto result =
      PythonExecutor::call("probe", "named", {1, "two", Array{3, 4}}, {{"key", 5}, {"größe", 6}});
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message));
  CHECK(*result == Value(Array{Array{1, "two", Array{3, 4}}, Object{{"key", 5}, {"größe", 6}}}));
  CHECK(*PythonExecutor::call("probe", "named", {Array{1, 2}}) ==
        Value(Array{Array{Array{1, 2}}, Object{}}));
  CHECK(*PythonExecutor::call("probe", "named") == Value(Array{Array{}, Object{}}));
}

TEST_CASE("A06: what no value can be comes as a Ref, and goes back in as the same object") {
  const Running running;
  make_module("probe", probe);
  const auto made = PythonExecutor::call("probe", "Box");
  REQUIRE(made.ok());
  REQUIRE(made->is_ref());
  CHECK(*PythonExecutor::call("probe", "same", {*made}) == *made);
}

TEST_CASE("A06: a result is read as a type of C++, or refused with what it is") {
  const Running running;
  CHECK(*PythonExecutor::call_as<double>("math", "sqrt", {2.25}) == 1.5);
  CHECK(*PythonExecutor::call_as<std::vector<int>>("builtins", "sorted", {Array{3, 1, 2}}) ==
        std::vector{1, 2, 3});
  CHECK(*PythonExecutor::call_as<std::string>("os.path", "basename", {"/a/b"}) == "b");
  const auto refused = PythonExecutor::call_as<int>("builtins", "str", {7});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::conversion);
  const auto failed = PythonExecutor::call_as<int>("builtins", "int", {"seven"});
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().code == Errc::python_exception);
}

TEST_CASE("A29: tuples, long ints and dates go through calls where the executor was told how") {
  const char* const code = R"(
import datetime, uuid
from decimal import Decimal
def same(x): return x
def given(): return [(1, 2), 2**70, datetime.date(2026, 11, 22), Decimal('0.1'), uuid.UUID(int=7)]
def kinds(x): return [type(y).__name__ for y in x]
def items(): yield (1,); yield 2**64
async def later(x): return (x, type(x).__name__)
def ask(): import unirun; return type(unirun.call('back', (1, Decimal('2.5')))).__name__
)";
  const Value date = Object{{"__date__", "2026-11-22"}};
  const auto tuple = [](Array of) { return Value(Object{{"__tuple__", std::move(of)}}); };
  {
    const Converters converters = Converters::standard();
    const Running running(
        {.num_workers = 1,
         .conversion = {
             .keep_tuples = true, .big_integers_as_text = true, .converters = &converters}});
    make_module("told", code);
    const auto given = PythonExecutor::call("told", "given");
    REQUIRE_MESSAGE(given.ok(), (given.ok() ? "" : given.error().message));
    const Array& values = given->as_array();
    CHECK(values[0] == tuple({1, 2}));
    CHECK(values[1] == Value("1180591620717411303424"));
    CHECK(values[2] == date);
    CHECK(*PythonExecutor::call("told", "same", {date}) == date);
    CHECK(*PythonExecutor::call("told", "kinds",
                                {Array{values[0], values[2], values[3], values[4]}}) ==
          Value(Array{"tuple", "date", "Decimal", "UUID"}));
    CHECK(*PythonExecutor::async_call("told", "later", {date}).get() == tuple({date, "date"}));
    auto context = PythonExecutor::bind({.name = "told"});
    REQUIRE(context.ok());
    CHECK(*context->eval("(x,)", {{"x", date}}) == tuple({date}));
    Stream items = PythonExecutor::stream("told", "items");
    const SystemClock clock;
    EventLoop loop(clock);
    Array read;
    CHECK(
        run_task(loop, items.for_each([&](Value item) { read.push_back(std::move(item)); })).ok());
    CHECK(read == Array{tuple({1}), "18446744073709551616"});
    Value heard;
    const auto back = PythonExecutor::register_function("back", [&](Value value) {
      heard = value;
      return value;
    });
    CHECK(*PythonExecutor::call("told", "ask") == Value("tuple"));
    CHECK(heard == tuple({1, Object{{"__decimal__", "2.5"}}}));
  }
  const Running running({.num_workers = 1});
  make_module("told", code);
  CHECK(*PythonExecutor::call("told", "kinds", {Array{date}}) == Value(Array{"dict"}));
  CHECK(
      error_of(PythonExecutor::call("told", "given")).message ==
      "what it returned: at [1]: the int is beyond 64 bits; big_integers_as_text gives its digits");
}

TEST_CASE("A06: functions may stand in classes, and be found along dots") {
  const Running running;
  make_module("probe", probe);
  CHECK(*PythonExecutor::call("probe", "Box.weigh", {21}) == Value(42));
  CHECK(*PythonExecutor::call("probe", "box.weigh", {2}) == Value(4));
  CHECK(*PythonExecutor::call("probe", "Box.Lid.name") == Value("Box.Lid"));
}

TEST_CASE("A06: module, attribute, what is none and what raises fail each by a code of its own") {
  const Running running;
  make_module("probe", probe);
  const Error module = error_of(PythonExecutor::call("no_such.module", "f"));
  CHECK(module.code == Errc::import_failed);
  CHECK(module.type == "builtins.ModuleNotFoundError");
  CHECK(module.message.find("no_such") != std::string::npos);

  const Error attribute = error_of(PythonExecutor::call("math", "square_root", {4}));
  CHECK(attribute.code == Errc::unknown_function);
  CHECK(attribute.message.find("square_root") != std::string::npos);
  CHECK(error_of(PythonExecutor::call("probe", "Box.no_lid")).code == Errc::unknown_function);
  CHECK(error_of(PythonExecutor::call("probe", "nothing")).code == Errc::unknown_function);

  const Error number = error_of(PythonExecutor::call("probe", "number"));
  CHECK(number.code == Errc::not_callable);
  CHECK(number.message.find("int") != std::string::npos);

  const Error raised = error_of(PythonExecutor::call("probe", "fail"));
  CHECK(raised.code == Errc::python_exception);
  CHECK(raised.type == "builtins.LookupError");
  CHECK(raised.payload == Value(Array{"nowhere", 7}));
  CHECK(error_of(PythonExecutor::call("probe", "trap")).code == Errc::python_exception);

  for (const Error& error : {module, attribute, number, raised})
    CHECK(error.traceback.find(error.message) != std::string::npos);
  CHECK(raised.traceback.find("in fail") != std::string::npos);
}

TEST_CASE("A06: what cannot be a name is refused before Python hears of it, executor or none") {
  for (const char* const module :
       {"", ".", "a..b", ".a", "a.", "a b", "1a", "a-b", "a;b", "\xff"}) {
    CAPTURE(module);
    CHECK(error_of(PythonExecutor::call(module, "f")).code == Errc::import_failed);
    CHECK(error_of(PythonExecutor::call("math", module)).code == Errc::import_failed);
  }
  const std::string with_nul("math\0x", 6);
  const Error nul = error_of(PythonExecutor::call(with_nul, "sqrt"));
  CHECK(nul.code == Errc::import_failed);
  CHECK(nul.message.find("math") != std::string::npos);
  CHECK(error_of(PythonExecutor::call("math", "sqrt", {4})).code == Errc::not_initialized);
}

TEST_CASE("A06: a module that was reloaded, replaced or patched is seen by the next call") {
  const Running running;
  make_module("moving", "def where(): return 1\ndef patch():\n  global where\n  where = lambda: 3");
  CHECK(*PythonExecutor::call("moving", "where") == Value(1));
  CHECK(*PythonExecutor::call("moving", "where") == Value(1));
  make_module("moving", "def where(): return 2\ndef patch():\n  global where\n  where = lambda: 3");
  CHECK(*PythonExecutor::call("moving", "where") == Value(2));
  CHECK(PythonExecutor::call("moving", "patch").ok());
  CHECK(*PythonExecutor::call("moving", "where") == Value(3));
  REQUIRE(PythonExecutor::submit([] { PyDict_DelItemString(PyImport_GetModuleDict(), "moving"); })
              .get()
              .ok());
  CHECK(error_of(PythonExecutor::call("moving", "where")).code == Errc::import_failed);
}

TEST_CASE("A06: whoever waited for another's import of a module that fails imports it anew") {
  ModuleFolder folder;
  folder.add("gate", R"(
import _frozen_importlib, time
tries = 0
def is_awaited(name): return bool(_frozen_importlib._module_locks[name]().waiters)
def let_in_the_second(name):
    global tries
    tries += 1
    if tries > 1: return
    while not is_awaited(name): time.sleep(0)
    raise RuntimeError('not the first')
)");
  folder.add("gated", R"(
import gate
gate.let_in_the_second(__name__)
def answer(): return 42
)");
  const Running executor({.num_workers = 2, .sys_path = {folder.path()}});
  auto first = PythonExecutor::async_call("gated", "answer");
  auto second = PythonExecutor::async_call("gated", "answer");
  std::vector<Result<Value>> outcomes = {first.get(), second.get()};
  if (outcomes[0].ok()) std::swap(outcomes[0], outcomes[1]);
  REQUIRE(!outcomes[0].ok());
  CHECK(outcomes[0].error().code == Errc::import_failed);
  CHECK(outcomes[0].error().message == "not the first");
  REQUIRE_MESSAGE(outcomes[1].ok(), (outcomes[1].ok() ? "" : outcomes[1].error().message));
  CHECK(*outcomes[1] == Value(42));
}

TEST_CASE("A06: an argument that no Python object can be is named") {
  const Running running;
  const Error error =
      error_of(PythonExecutor::call("math", "hypot", {1, Array{2, std::string("\xff")}}));
  CHECK(error.code == Errc::conversion);
  CHECK(error.message.find("argument 2") == 0);
  CHECK(error_of(PythonExecutor::call("builtins", "pow", {2, 100})).message.find("returned") !=
        std::string::npos);
}

TEST_CASE("A06: a loop's thread is refused, and told what to use") {
  const Running running;
  const SystemClock clock;
  EventLoop loop(clock);
  Result<Value> result = Value();
  loop.post([&] {
    result = PythonExecutor::call("math", "sqrt", {4});
    loop.stop();
  });
  loop.run();
  CHECK(error_of(result).code == Errc::unsupported);
  CHECK(result.error().message.find("async_call") != std::string::npos);
}

TEST_CASE("A06: a call is ended by its timeout, and its worker takes the next") {
  const Running running({.num_workers = 1});
  make_module("endless", "def run():\n  while True: pass");
  CHECK(error_of(PythonExecutor::call("endless", "run", {}, {}, {.timeout = 50ms})).code ==
        Errc::timeout);
  CHECK(*PythonExecutor::call("math", "sqrt", {4}) == Value(2.0));
}

TEST_CASE("A06: a token cancels a call that runs, and one that has not begun") {
  const Running running({.num_workers = 1});
  make_module("endless", "def run(x):\n  while True: pass");
  CancellationSource source;
  Result<Value> result = Value();
  std::thread caller(
      [&] { result = PythonExecutor::call("endless", "run", {1}, {}, {.token = source.token()}); });
  while (PythonExecutor::get_stats().running == 0) std::this_thread::yield();
  source.request_cancellation();
  caller.join();
  CHECK(error_of(result).code == Errc::cancelled);
  CHECK(error_of(PythonExecutor::call("math", "sqrt", {4}, {}, {.token = source.token()})).code ==
        Errc::cancelled);
  CHECK(*PythonExecutor::call("math", "sqrt", {4}) == Value(2.0));
}

TEST_CASE("A06: a task calls on, with a single worker") {
  const Running running({.num_workers = 1});
  auto outer = PythonExecutor::submit([] { return PythonExecutor::call("math", "sqrt", {9}); });
  CHECK(*outer.get() == Value(3.0));
}

}  // namespace unirun::python
