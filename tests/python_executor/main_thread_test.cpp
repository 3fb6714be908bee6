// A main thread that computes, and those who come for the GIL meanwhile.

#include "executors/python/interpreter/main_thread.h"
// Python.h first.

#include <atomic>
#include <barrier>
#include <string>
#include <thread>
#include <vector>

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

  // Computes until each has come so often, and so much is done; or for a minute.
  void compute_until_visited(int times, int steps) {
    set("wanted", times);
    set("work", steps);
    run("end = time.monotonic() + 60\n"
        "while (min(visits) < wanted or steps < work) and time.monotonic() < end:\n"
        "    steps += 1\n");
  }
  void begin_visits(int visitors) {
    set("visitors", visitors);
    run("visits = [0] * visitors");
  }
  long number(const char* expression) {
    const Reference value =
        Reference::steal(PyRun_String(expression, Py_eval_input, names_.get(), names_.get()));
    return PyLong_AsLong(value.get());
  }

  // Of another thread, with the GIL.
  void visit(int visitor) {
    PyObject* const visits = PyDict_GetItemString(names_.get(), "visits");
    const long before = PyLong_AsLong(PyList_GET_ITEM(visits, visitor));
    PyList_SetItem(visits, visitor, PyLong_FromLong(before + 1));
  }
  void come() { set("come", PyLong_AsLong(PyDict_GetItemString(names_.get(), "come")) + 1); }

 private:
  void set(const char* name, long value) {
    PyDict_SetItemString(names_.get(), name, Reference::steal(PyLong_FromLong(value)).get());
  }

  Reference names_;
};

// Threads that come for the GIL now and then. Under an endless interval whoever came too late to be
// woken in time, or while the main thread had lost its share of time, has it by the next who asks.
class Latecomers {
 public:
  // REQUIRES: without the GIL.
  void end() {
    over_ = true;
    thread_.join();
  }

 private:
  void run() {
    std::vector<std::thread> all;
    while (!over_) {
      std::this_thread::sleep_for(100ms);
      all.emplace_back([] { const GILGuard guard; });
    }
    for (std::thread& one : all) one.join();
  }

  std::atomic<bool> over_{false};
  std::thread thread_{[this] { run(); }};
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
    Latecomers latecomers;
    came = computation.compute_until(1);
    const GILRelease released;
    other.join();
    latecomers.end();
  }
  CHECK(Interpreter::start({}).ok());
  CHECK(came == 1);
}

TEST_CASE(
    "A03: threads that come all at once, and again and again, share with a main thread that "
    "computes") {
  const Running executor({.num_workers = 2});
  constexpr int guards = 4;
  constexpr int sources = 2;
  constexpr int all = guards + sources;
  long fewest = 0;
  long steps = 0;
  {
    const GILGuard guard;
    Computation computation;
    // Until each has come often, and the work of the main thread is done as well.
    computation.begin_visits(all);
    std::atomic<bool> over{false};
    std::barrier<> begin(all);
    std::vector<std::thread> threads;
    for (int n = 0; n < guards; ++n) {
      threads.emplace_back([&, n] {
        begin.arrive_and_wait();
        while (!over) {
          const GILGuard inner;
          computation.visit(n);
        }
      });
    }
    for (int n = guards; n < all; ++n) {  // They do not come themselves, but workers for them.
      threads.emplace_back([&, n] {
        begin.arrive_and_wait();
        while (!over)
          static_cast<void>(PythonExecutor::submit([&] { computation.visit(n); }).get());
      });
    }
    computation.compute_until_visited(20, 200'000);
    over = true;
    fewest = computation.number("min(visits)");
    steps = computation.number("steps");
    const GILRelease released;
    for (std::thread& thread : threads) thread.join();
  }
  CHECK(fewest >= 20);
  CHECK(steps >= 200'000);
}

TEST_CASE("A03: a main thread that is asked lets in all who wait, though the interval is endless") {
  REQUIRE(Interpreter::start({.switch_interval = endless}).ok());
  constexpr int all = 8;
  long came = 0;
  {
    const GILGuard guard;
    Computation computation;
    std::this_thread::sleep_for(100ms);  // What other tests have cost the main thread is paid then.
    std::barrier<> begin(all);
    std::vector<std::thread> threads;
    for (int n = 0; n < all; ++n) {
      threads.emplace_back([&] {
        begin.arrive_and_wait();
        const GILGuard inner;
        computation.come();
      });
    }
    Latecomers latecomers;
    came = computation.compute_until(all);
    const GILRelease released;
    for (std::thread& thread : threads) thread.join();
    latecomers.end();
  }
  CHECK(Interpreter::start({}).ok());
  CHECK(came == all);
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
