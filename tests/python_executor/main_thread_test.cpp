// A main thread that computes, and those who come for the GIL meanwhile.

#include "executors/python/interpreter/main_thread.h"
// Python.h first.

#include <string>
#include <thread>

#include "executor_fixture.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/interpreter/yield_budget.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

// Longer than any test: who waits for it does not come.
constexpr std::chrono::microseconds endless = 1000s;

// The names of Python code that computes on this thread, which is the main one.
class Computation {
 public:
  Computation() : names_(Reference::steal(PyDict_New())) {
    PyDict_SetItemString(names_.get(), "__builtins__", PyEval_GetBuiltins());
    run("import time\ncome = 0\nsteps = 0");
  }

  void run(const char* code) {
    const Reference done =
        Reference::steal(PyRun_String(code, Py_file_input, names_.get(), names_.get()));
    if (!done) FAIL(error_of_exception().traceback);
  }

  // Computes until so many have come, or for a minute.
  long compute_until(int count) {
    set("wanted", count);
    run("end = time.monotonic() + 60\n"
        "while come < wanted and time.monotonic() < end:\n"
        "    steps += 1\n");
    return PyLong_AsLong(PyDict_GetItemString(names_.get(), "come"));
  }

  // Of another thread, with the GIL.
  void come() { set("come", PyLong_AsLong(PyDict_GetItemString(names_.get(), "come")) + 1); }

 private:
  void set(const char* name, long value) {
    PyDict_SetItemString(names_.get(), name, Reference::steal(PyLong_FromLong(value)).get());
  }

  Reference names_;
};

}  // namespace

TEST_CASE("A03: a main thread that computes lets others in though the interval is endless") {
  // No executor, whose workers would come too.
  REQUIRE(Interpreter::start({.switch_interval = endless}).ok());
  long came = 0;
  {
    const GILGuard guard;
    Computation computation;
    std::this_thread::sleep_for(100ms);  // What other tests have cost the main thread is paid then.
    std::thread other([&] {
      const GILGuard inner;
      computation.come();
    });
    came = computation.compute_until(1);
    const GILRelease released;
    other.join();
  }
  CHECK(Interpreter::start({}).ok());
  CHECK(came == 1);
}

TEST_CASE("A03: what a thread loses by letting others in is bounded, and paid off by time") {
  YieldBudget budget;
  const Instant begin{1h};
  CHECK(budget.allows(begin));
  budget.charge(begin, 900us);
  CHECK(budget.allows(begin + 900us));
  budget.charge(begin + 900us, 900us);
  CHECK_FALSE(budget.allows(begin + 1800us));
  CHECK_FALSE(budget.allows(begin + 7900us));
  CHECK(budget.allows(begin + 8ms));
  // A turn counts so much at most.
  budget.charge(begin + 1s, 10min);
  CHECK_FALSE(budget.allows(begin + 1s + 39ms));
  CHECK(budget.allows(begin + 1s + 40ms));
}

TEST_CASE("A03: a bounded share of the main thread's time is lost however many ask") {
  YieldBudget budget;
  Instant now{1h};
  Duration lost{};
  while (now < Instant{1h} + 10s) {
    if (budget.allows(now)) {
      budget.charge(now, 50us);
      lost += 50us;
    }
    now += 50us;
  }
  CHECK(lost >= 990ms);
  CHECK(lost <= 1010ms);
}

}  // namespace unirun::python
