#include "executors/python/values/exception_text.h"
#include "executors/python/interpreter/interruption.h"

#include "tests/python_executor/interpreter_fixture.h"
// Python.h first.

#include <stdexcept>
#include <system_error>

using namespace unirun::python;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

class Exceptions : public WithPython {
 protected:
  Error error_of(const std::string& code, Keep keep = Keep::text) {
    raise(code);
    return error_of_exception(keep);
  }

  // Of `type` with `message`; taken off the thread.
  Reference raised(const Error& error) {
    raise_error(error);
    return set();
  }

  Reference set() {
    PyObject* type = nullptr;
    PyObject* exception = nullptr;
    PyObject* traceback = nullptr;
    PyErr_Fetch(&type, &exception, &traceback);
    PyErr_NormalizeException(&type, &exception, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    REQUIRE(exception != nullptr);
    return Reference::steal(exception);
  }
};

}  // namespace

TEST_CASE_FIXTURE(Exceptions,
                  "E04: an exception becomes its type, its message, its notes and its args") {
  const Error error = error_of(
      "e = ValueError('too large', 7)\n"
      "e.add_note('of the second kind')\n"
      "raise e\n");
  CHECK(error.code == Errc::python_exception);
  CHECK(error.type == "builtins.ValueError");
  CHECK(error.message == "('too large', 7)\nof the second kind");
  CHECK(error.payload == Value(Array{"too large", 7}));
  CHECK(
      contains(error.traceback, "Traceback (most recent call last):\n  File \"<string>\", line 3"));
  CHECK(contains(error.traceback, "ValueError: ('too large', 7)\nof the second kind\n"));
  CHECK_FALSE(error.exception);
}

TEST_CASE_FIXTURE(Exceptions, "E04: the causes of an exception stand in its traceback") {
  const Error error = error_of(
      "try:\n"
      "    1 / 0\n"
      "except ZeroDivisionError as cause:\n"
      "    raise RuntimeError('after that') from cause\n");
  CHECK(error.message == "after that");
  CHECK(contains(error.traceback, "ZeroDivisionError: division by zero"));
  CHECK(contains(error.traceback, "direct cause of the following exception"));
}

TEST_CASE_FIXTURE(Exceptions, "E04: a class of the program's own is named with its module") {
  const Error error = error_of("class Lost(LookupError): pass\nraise Lost");
  CHECK(error.type == "test.Lost");
  CHECK(error.message.empty());
}

TEST_CASE_FIXTURE(Exceptions,
                  "A04: SystemExit, KeyboardInterrupt and GeneratorExit are errors like others") {
  const Error exit = error_of("raise SystemExit(3)");
  CHECK(exit.type == "builtins.SystemExit");
  CHECK(exit.message == "3");
  CHECK(exit.payload == Value(Array{3}));
  CHECK(error_of("raise KeyboardInterrupt").type == "builtins.KeyboardInterrupt");
  CHECK(error_of("raise GeneratorExit").type == "builtins.GeneratorExit");
}

TEST_CASE_FIXTURE(Exceptions,
                  "E04: a call that fails without an exception is an error, not a hang") {
  const Error error = error_of_exception();
  CHECK(error.code == Errc::python_exception);
  CHECK(error.type == "builtins.SystemError");
  CHECK(contains(error.message, "without an exception"));
}

TEST_CASE_FIXTURE(Exceptions,
                  "E04: an exception that can not say what it is still tells its type") {
  const Error error = error_of(
      "class Broken(Exception):\n"
      "    def __str__(self): raise SystemExit(9)\n"
      "    __repr__ = __str__\n"
      "    @property\n"
      "    def args(self): raise KeyboardInterrupt\n"
      "    @property\n"
      "    def __notes__(self): raise MemoryError\n"
      "raise Broken");
  CHECK(error.type == "test.Broken");
  CHECK(error.message == "<exception str() failed>");
  CHECK(contains(error.traceback, "in <module>"));
  CHECK(error.payload.is_null());
}

TEST_CASE_FIXTURE(Exceptions,
                  "E04: without the traceback module the frames are told all the same") {
  run("import sys, traceback\n"
      "sys.modules['traceback'] = None");
  const Error error = error_of("def f():\n    raise ValueError('v')\nf()");
  run("sys.modules['traceback'] = traceback");
  CHECK(error.message == "v");
  CHECK(error.traceback ==
        "Traceback (most recent call last):\n"
        "  File \"<string>\", line 3, in <module>\n"
        "  File \"<string>\", line 2, in f\n"
        "builtins.ValueError: v\n");
}

TEST_CASE_FIXTURE(Exceptions,
                  "E04: half a surrogate pair in a message is written as Python prints it") {
  CHECK(error_of("raise ValueError('a\\udc80\\0b')").message == std::string("a\\udc80\0b", 9));
}

TEST_CASE_FIXTURE(Exceptions, "E04: the end of recursion and of memory are told") {
  const Error deep = error_of("def f(): f()\nf()");
  CHECK(deep.type == "builtins.RecursionError");
  CHECK(contains(deep.traceback, "in f"));
  CHECK(error_of("raise MemoryError").type == "builtins.MemoryError");
}

TEST_CASE_FIXTURE(Exceptions, "E04: a group of exceptions is told with its members") {
  const Error error = error_of("raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])");
  CHECK(error.message == "two (2 sub-exceptions)");
  CHECK(contains(error.traceback, "KeyError: 'b'"));
  CHECK(error.payload.is_null());  // Exceptions are no values.
}

TEST_CASE_FIXTURE(Exceptions,
                  "E18: unirun.Interrupted has a code of its own, and comes back as itself") {
  Error error;
  {
    PyErr_SetNone(interrupted_class());
    error = error_of_exception();
  }
  CHECK(error.code == Errc::interrupted);
  CHECK(PyErr_GivenExceptionMatches(raised(error).get(), interrupted_class()));
}

TEST_CASE_FIXTURE(Exceptions, "E12: an exception that was kept is raised again as the very same") {
  raise("e = ValueError('mine')\nraise e");
  const Error error = error_of_exception(Keep::exception);
  CHECK(raised(error).get() == eval("e").get());
}

TEST_CASE_FIXTURE(Exceptions,
                  "E12: an exception that was not kept is made anew of its class and its args") {
  const Error error = error_of("raise KeyError('name', 3)");
  const Reference again = raised(error);
  CHECK(holds(again.get(), "type(it) is KeyError and it.args == ('name', 3)"));
  CHECK(holds(again.get(), "'line 1, in <module>' in it.__notes__[0]"));
  const Error lost = error_of("import json\njson.loads('{')");
  CHECK(lost.type == "json.decoder.JSONDecodeError");
  // Whose constructor takes other arguments than its args.
  CHECK(holds(raised(lost).get(),
              "type(it) is RuntimeError and 'JSONDecodeError: Expecting' in str(it)"));
}

TEST_CASE_FIXTURE(Exceptions,
                  "E12: an exception of a class that is not here is told by a RuntimeError") {
  const Error error{.code = Errc::python_exception, .type = "elsewhere.Trouble", .message = "much"};
  CHECK(holds(raised(error).get(),
              "type(it) is RuntimeError and str(it) == 'elsewhere.Trouble: much'"));
  for (const char* type :
       {"", ".", "..", "builtins", "builtins.", ".ValueError", "builtins.len", "sys.path"}) {
    CAPTURE(type);
    const Reference made = raised({.code = Errc::python_exception, .type = type, .message = "m"});
    CHECK(holds(made.get(), "type(it) is RuntimeError"));
  }
}

TEST_CASE_FIXTURE(Exceptions, "E12: each code is raised as what an except clause would name") {
  const auto is = [&](Errc code, const std::string& type) {
    CAPTURE(type);
    const Reference made = raised({.code = code, .message = "why"});
    CHECK(holds(made.get(), "type(it) is " + type + " and str(it) == 'why' and it.errc == '" +
                                std::string(to_string(code)) + "'"));
  };
  run("import concurrent.futures");
  is(Errc::timeout, "TimeoutError");
  is(Errc::cancelled, "concurrent.futures.CancelledError");
  is(Errc::conversion, "TypeError");
  is(Errc::not_callable, "TypeError");
  is(Errc::import_failed, "ImportError");
  is(Errc::depth_exceeded, "RecursionError");
  is(Errc::memory_limit, "MemoryError");
  is(Errc::unknown_function, "AttributeError");
  is(Errc::unsupported, "NotImplementedError");
  is(Errc::queue_full, "RuntimeError");
}

TEST_CASE_FIXTURE(Exceptions,
                  "E12: a C++ exception becomes the closest of Python's, with its type in a note") {
  const auto raised_of = [&](auto exception) {
    try {
      throw exception;
    } catch (...) {
      raise_cpp_exception();
    }
    return set();
  };
  CHECK(holds(raised_of(std::out_of_range("far")).get(),
              "type(it) is IndexError and str(it) == 'far' and it.__notes__ == ['C++ exception: "
              "std::out_of_range']"));
  CHECK(holds(raised_of(std::invalid_argument("bad")).get(), "type(it) is ValueError"));
  CHECK(holds(raised_of(std::overflow_error("big")).get(), "type(it) is OverflowError"));
  CHECK(holds(raised_of(std::bad_alloc()).get(), "type(it) is MemoryError"));
  CHECK(holds(raised_of(std::runtime_error("n\xff")).get(),
              "type(it) is RuntimeError and str(it) == 'n\\\\xff'"));
  CHECK(holds(raised_of(std::system_error(ENOENT, std::generic_category(), "open")).get(),
              "type(it) is FileNotFoundError and it.errno == 2"));
  CHECK(holds(raised_of(7).get(),
              "type(it) is RuntimeError and it.__notes__ == ['C++ exception: int']"));
}

TEST_CASE("E04: a C++ exception becomes an error with its demangled type") {
  try {
    throw std::out_of_range("far");
  } catch (...) {
    const Error error = error_of_cpp_exception();
    CHECK(error.type == "std::out_of_range");
    CHECK(error.message == "far");
  }
  try {
    throw 7;
  } catch (...) {
    CHECK(error_of_cpp_exception().type == "int");
  }
}
