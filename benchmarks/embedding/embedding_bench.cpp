// What it costs a C++ program to have Python run by the PythonExecutor, beside bare floors and what
// one writes in five minutes, in turns and in the same run: the median of the rounds. Prints one
// JSON object a line: {"metric", "unit", "value", "floor", "rival"}; 0 where there is none.
//
// usage: embedding_bench [rounds, default 9] [gil | coroutines | callbacks: only what is about
// them]

#include "asgi_rounds.h"
#include "coroutine_rounds.h"
#include "floors.h"
// Python.h first.

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/python_executor.h"
#include "executors/python/tasks/worker_counts.h"

namespace unirun::bench {
namespace {

using python::GILGuard;
using python::GILRelease;
using python::PythonExecutor;
using python::PythonThread;
using python::Ref;

const SystemClock clock_of_all;
int rounds = 9;

constexpr int trips = 4'000;
constexpr int burst = 10'000;

double median(std::vector<double> values, double share = 0.5) {
  if (values.empty()) return 0;
  const auto at = static_cast<long>(static_cast<double>(values.size() - 1) * share);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

double microseconds(Duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

template <class Work>
double microseconds_of(Work work) {
  const Instant begin = clock_of_all.now();
  work();
  return microseconds(clock_of_all.now() - begin);
}

// Of this thread alone: what it does, not what others do on its CPU meanwhile.
template <class Work>
double own_microseconds_of(Work work) {
  const auto now = [] {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
  };
  const double begin = now();
  work();
  return now() - begin;
}

template <class Trip>
std::vector<double> times_of(int count, Trip trip) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) times.push_back(trip());
  return times;
}

// One round of each, again and again.
template <class Ours, class Floor, class Rival>
void compare(const char* metric, const char* unit, Ours ours, Floor floor, Rival rival) {
  std::vector<double> value, value_of_floor, value_of_rival;
  for (int round = 0; round < rounds; ++round) {
    value.push_back(ours());
    value_of_floor.push_back(floor());
    value_of_rival.push_back(rival());
  }
  std::printf(
      "{\"metric\": \"%s\", \"unit\": \"%s\", \"value\": %.4g, \"floor\": %.4g, "
      "\"rival\": %.4g}\n",
      metric, unit, median(value), median(value_of_floor), median(value_of_rival));
  std::fflush(stdout);
}

double nobody() { return 0; }

int run_python() {
  const python::Reference one = python::Reference::steal(PyLong_FromLong(1));
  return static_cast<int>(PyLong_AsLong(one.get()));
}

// ---- One at a time ----

double trip_there_and_back() {
  return microseconds_of([] { static_cast<void>(PythonExecutor::submit(run_python).get()); });
}

void measure_round_trips() {
  BareWake wake;
  PlainWorker plain;
  for (const auto& [metric, share] : {std::pair{"round trip p50", 0.5}, {"round trip p99", 0.99}}) {
    compare(
        metric, "us", [&] { return median(times_of(trips, trip_there_and_back), share); },
        [&] {
          const auto trip = [&] { return microseconds_of([&] { wake.round_trip(); }); };
          return median(times_of(trips, trip), share);
        },
        [&] {
          const auto trip = [&] {
            return microseconds_of([&] { plain.submit(run_python).get(); });
          };
          return median(times_of(trips, trip), share);
        });
  }
  compare(
      "round trip with a timeout p50", "us",
      [] {
        return median(times_of(trips, [] {
          return microseconds_of([] {
            static_cast<void>(PythonExecutor::submit_timeout(run_python, 1'000'000'000).get());
          });
        }));
      },
      [&] {
        return median(times_of(trips, [&] { return microseconds_of([&] { wake.round_trip(); }); }));
      },
      nobody);
}

// So long that the other one has gone to sleep.
void let_it_park() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

void measure_dispatch() {
  BareWake wake;
  const auto ours = [] {
    let_it_park();
    const Instant begin = clock_of_all.now();
    auto task = PythonExecutor::submit([] { return clock_of_all.now(); });
    return microseconds(*task.get() - begin);
  };
  const auto bare = [&] {
    let_it_park();
    const Instant begin = clock_of_all.now();
    wake.round_trip();
    return microseconds(wake.woken_at() - begin);
  };
  compare(
      "submit to a parked worker's first statement p50", "us",
      [&] { return median(times_of(1'000, ours)); }, [&] { return median(times_of(1'000, bare)); },
      nobody);
}

// A Python function by a Ref, one caller and sixteen: thousands a second.
double calls_of(int callers, const Ref& function) {
  const int each = 16'000 / callers;
  const double time = microseconds_of([&] {
    std::vector<std::thread> threads;
    for (int caller = 0; caller < callers; ++caller) {
      threads.emplace_back([&] {
        for (int i = 0; i < each; ++i) static_cast<void>(PythonExecutor::submit(function).get());
      });
    }
    for (auto& thread : threads) thread.join();
  });
  return 16'000 / time * 1e3;
}

void measure_calls() {
  const Ref function = [] {
    const GILGuard guard;
    return Ref::steal(
        PyRun_String("int", Py_eval_input, PyEval_GetBuiltins(), PyEval_GetBuiltins()));
  }();
  BareWake wake;
  const auto bare = [&] {
    return trips / microseconds_of([&] {
             for (int i = 0; i < trips; ++i) wake.round_trip();
           }) *
           1e3;
  };
  compare(
      "calls of a Python function, one caller", "K/s", [&] { return calls_of(1, function); }, bare,
      nobody);
  compare(
      "the same, 16 callers and one worker", "K/s", [&] { return calls_of(16, function); }, bare,
      nobody);
}

// ---- Many at once ----

// The caller's cost of each in microseconds, and millions a second there and back.
template <class Submit, class Get>
std::pair<double, double> burst_of(Submit submit, Get get) {
  std::vector<decltype(submit())> tasks;
  tasks.reserve(burst);
  const Instant begin = clock_of_all.now();
  const double own = own_microseconds_of([&] {
    for (int i = 0; i < burst; ++i) tasks.push_back(submit());
  });
  for (auto& task : tasks) get(task);
  return {own / burst, burst / microseconds(clock_of_all.now() - begin)};
}

std::pair<double, double> our_burst() {
  return burst_of([] { return PythonExecutor::submit([] { return 1; }); },
                  [](auto& task) { static_cast<void>(task.get()); });
}

void measure_bursts() {
  BareQueue bare;
  PlainWorker plain;
  const auto floor = [&] {
    return burst_of([&] { return bare.submit(); },
                    [](BareQueue::Task* task) { delete BareQueue::get(task); });
  };
  const auto rival = [&] {
    return burst_of([&] { return plain.submit([] { return 1; }); }, [](auto& task) { task.get(); });
  };
  compare(
      "submit, the caller's cost", "us", [] { return our_burst().first; },
      [&] { return floor().first; }, [&] { return rival().first; });
  compare(
      "submit 10,000, get() each", "M/s", [] { return our_burst().second; },
      [&] { return floor().second; }, [&] { return rival().second; });
  compare(
      "submit with a timeout, the caller's cost", "us",
      [] {
        return burst_of(
                   [] { return PythonExecutor::submit_timeout([] { return 1; }, 1'000'000'000); },
                   [](auto& task) { static_cast<void>(task.get()); })
            .first;
      },
      [&] { return floor().first; }, nobody);
}

// 64 tasks for a parked worker, at once and one by one.
void measure_batches() {
  std::vector<int (*)()> functions(64, [] { return 1; });
  const auto at_once = [&] {
    let_it_park();
    return microseconds_of([&] {
             for (auto& task : PythonExecutor::submit_batch(std::span(functions)))
               static_cast<void>(task.get());
           }) /
           64;
  };
  const auto one_by_one = [&] {
    let_it_park();
    return microseconds_of([&] {
             for (auto& function : functions)
               static_cast<void>(PythonExecutor::submit(function).get());
           }) /
           64;
  };
  compare(
      "a task of a batch of 64, there and back", "us",
      [&] { return median(times_of(300, at_once)); }, nobody,
      [&] { return median(times_of(300, one_by_one)); });
  const auto singly = [&] {
    let_it_park();
    return microseconds_of([&] {
             std::vector<python::future<int>> tasks;
             tasks.reserve(functions.size());
             for (auto& function : functions) tasks.push_back(PythonExecutor::submit(function));
             for (auto& task : tasks) static_cast<void>(task.get());
           }) /
           64;
  };
  compare(
      "the same, submitted singly", "us", [&] { return median(times_of(300, singly)); }, nobody,
      nobody);
}

// ---- Statistics ----

// What counting and timing takes of a task's time, where tasks are shortest: in a burst.
void measure_statistics() {
  constexpr int tasks = 200'000;
  python::WorkerCounts counts;
  const auto of_a_task = [&] {
    return microseconds_of([&] {
             for (int task = 0; task < tasks; ++task) {
               counts.started.add(1);
               if (task % 16 == 0) {
                 const Instant submitted = clock_of_all.now();
                 const Instant began = clock_of_all.now();
                 counts.queue_wait.record(began - submitted, 16);
                 counts.execution.record(clock_of_all.now() - began, 16);
               }
               counts.executed.add(1);
             }
           }) /
           tasks;
  };
  compare(
      "statistics, of a task's time in a burst", "%",
      [&] { return of_a_task() * our_burst().second * 100; }, nobody, nobody);
  compare(
      "a snapshot of statistics", "us",
      [] {
        return microseconds_of([] {
                 for (int i = 0; i < 1'000; ++i) static_cast<void>(PythonExecutor::get_stats());
               }) /
               1'000;
      },
      nobody, nobody);
}

// ---- ASGI ----

void measure_asgi() {
  AsgiRounds rounds_of_64;
  const auto per_second = [](auto work) {
    return AsgiRounds::requests / microseconds_of(work) * 1e3;
  };
  compare(
      "ASGI requests, 64 under way", "K/s",
      [&] { return per_second([&] { rounds_of_64.ours(); }); },
      [&] { return per_second([] { AsgiRounds::floor(); }); }, nobody);
}

// ---- Coroutines ----

void measure_coroutines() {
  for (const auto& [function, one, many] :
       {std::tuple{"echo", "coroutines, one at a time", "coroutines, 10,000 at once"},
        {"pause", "the same, that wait a turn of the loop", "10,000 of those at once"}}) {
    CoroutineRounds coroutines(function);
    const auto per_second = [](int count, auto work) {
      return [=] { return count / microseconds_of([&] { work(count); }) * 1e3; };
    };
    compare(one, "K/s", per_second(trips, [&](int count) { coroutines.one_at_a_time(count); }),
            nobody, per_second(trips, [&](int count) { coroutines.rival_one_at_a_time(count); }));
    compare(many, "K/s", per_second(burst, [&](int count) { coroutines.at_once(count); }),
            per_second(burst, [&](int count) { coroutines.floor_at_once(count); }),
            per_second(burst, [&](int count) { coroutines.rival_at_once(count); }));
  }
}

// ---- Callbacks ----

// Python code that calls C++ that calls Python again, so deep, and back: what each level takes.
double microseconds_of_level(int depth) {
  const auto down = PythonExecutor::register_function(
      "down", [](int level) { return PythonExecutor::call("depth", "descend", {level}); });
  const char* const code =
      "import unirun\n"
      "def descend(level):\n"
      "    return unirun.call('down', level - 1) if level else 0\n";
  const auto defined = PythonExecutor::submit([&] {
                         PyObject* const names = PyModule_GetDict(PyImport_AddModule("depth"));
                         PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
                         python::Reference::steal(PyRun_String(code, Py_file_input, names, names));
                       }).get();
  const double time = microseconds_of([&] {
    const auto came_back = PythonExecutor::call("depth", "descend", {depth});
    if (!defined.ok() || !came_back.ok()) std::abort();
  });
  return time / depth;
}

void measure_depth() {
  for (const auto& [metric, depth] : {std::pair{"a level of callbacks, 100 deep", 100},
                                      {"a level of callbacks, 1,000 deep", 1'000},
                                      {"a level of callbacks, 10,000 deep", 10'000}}) {
    compare(
        metric, "us", [depth = depth] { return microseconds_of_level(depth); }, nobody, nobody);
  }
}

// ---- The GIL ----

void measure_gil() {
  constexpr int times = 200'000;
  const auto each = [](auto work) {
    return microseconds_of([&] {
             for (int i = 0; i < times; ++i) work();
           }) /
           times;
  };
  compare(
      "GILGuard, when nobody runs Python", "us", [&] { return each([] { const GILGuard guard; }); },
      [&] {
        const GILGuard guard;
        return each([] { const GILRelease released; });
      },
      [&] {
        double time = 0;
        std::thread([&] { time = each([] { PyGILState_Release(PyGILState_Ensure()); }); }).join();
        return time;
      });
}

// Python code that counts on this thread, Python's main one, until it is stopped.
class Counting {
 public:
  Counting() : names_(python::Reference::steal(PyDict_New())) {
    PyDict_SetItemString(names_.get(), "__builtins__", PyEval_GetBuiltins());
    PyDict_SetItemString(names_.get(), "over", Py_False);
  }
  // Thousands of steps a second.
  double run() {
    const char* const code = "steps = 0\nwhile not over: steps += 1\n";
    const double time = microseconds_of([&] {
      python::Reference::steal(PyRun_String(code, Py_file_input, names_.get(), names_.get()));
    });
    return PyLong_AsDouble(PyDict_GetItemString(names_.get(), "steps")) / time * 1e3;
  }
  // Thread: another, with the GIL.
  void stop() { PyDict_SetItemString(names_.get(), "over", Py_True); }

 private:
  python::Reference names_;
};

// While the main thread counts, another one does `work`; what that says, and how fast it counted.
template <class Work>
std::pair<double, double> beside_counting(Work work) {
  const GILGuard guard;
  Counting counting;
  double said = 0;
  std::thread other([&] {
    said = work();
    const GILGuard inner;
    counting.stop();
  });
  const double speed = counting.run();
  const GILRelease released;
  other.join();
  return {said, speed};
}

// A share of the times that it takes to come by the GIL, again and again for 0.4 s, with a pause.
template <class Attach>
double attach_times(double share, std::chrono::microseconds pause, Attach attach) {
  std::vector<double> times;
  const Instant end = clock_of_all.now() + std::chrono::milliseconds(400);
  while (clock_of_all.now() < end) {
    std::this_thread::sleep_for(pause);
    times.push_back(attach());
  }
  return median(std::move(times), share);
}

double attach_by_guard() {
  Instant attached;
  const Instant begin = clock_of_all.now();
  {
    const GILGuard guard;
    attached = clock_of_all.now();
  }
  return microseconds(attached - begin);
}

double attach_as_usual() {
  const Instant begin = clock_of_all.now();
  const PyGILState_STATE state = PyGILState_Ensure();
  const Instant attached = clock_of_all.now();
  PyGILState_Release(state);
  return microseconds(attached - begin);
}

void measure_gil_of_main_thread() {
  using std::chrono::microseconds;
  for (const auto& [metric, share] :
       {std::pair{"GIL, when the main thread computes, p50", 0.5}, {"the same, p99", 0.99}}) {
    const auto times = [share = share](auto attach) {
      return [=] {
        return beside_counting([=] { return attach_times(share, microseconds(2'000), attach); })
            .first;
      };
    };
    compare(metric, "us", times(attach_by_guard), nobody, times(attach_as_usual));
  }
  const auto alone = [] {
    return beside_counting([] {
             std::this_thread::sleep_for(std::chrono::milliseconds(100));
             return 0.0;
           })
        .second;
  };
  for (const auto& [metric, pause] :
       {std::pair{"steps counted meanwhile, 500 come a second", 2'000},
        {"the same, as many come as can", 100}}) {
    const auto speed = [pause = pause](auto attach) {
      return [=] {
        return beside_counting([=] { return attach_times(0.5, microseconds(pause), attach); })
            .second;
      };
    };
    compare(metric, "K/s", speed(attach_by_guard), alone, speed(attach_as_usual));
  }
}

// A worker computes, and not the main thread: nobody can be asked.
void measure_gil_of_worker() {
  const auto times = [](auto attach) {
    return [=] {
      std::atomic<bool> over{false};
      auto counting = PythonExecutor::submit([&] {
        Counting steps;
        std::thread stopper([&] {
          while (!over.load()) over.wait(false);
          const GILGuard guard;
          steps.stop();
        });
        steps.run();
        const GILRelease released;
        stopper.join();
      });
      const double time = attach_times(0.5, std::chrono::microseconds(2'000), attach);
      over.store(true);
      over.notify_all();
      static_cast<void>(counting.get());
      return time;
    };
  };
  compare("GIL, when a worker computes, p50", "us", times(attach_by_guard), nobody,
          times(attach_as_usual));
}

}  // namespace
}  // namespace unirun::bench

int main(int argc, char** argv) {
  using namespace unirun::bench;
  if (argc > 1) rounds = std::max(1, std::atoi(argv[1]));
  if (PythonExecutor::initialize({.num_workers = 1}) != 0) return 1;
  const std::string_view only = argc > 2 ? argv[2] : "";
  if (only.empty()) {
    measure_round_trips();
    measure_dispatch();
    measure_calls();
    measure_bursts();
    measure_batches();
    measure_statistics();
    measure_asgi();
  }
  if (only.empty() || only == "coroutines") measure_coroutines();
  if (only.empty() || only == "callbacks") measure_depth();
  if (only.empty() || only == "gil") {
    measure_gil();
    measure_gil_of_main_thread();
    measure_gil_of_worker();
  }
  static_cast<void>(PythonExecutor::shutdown());
  return 0;
}
