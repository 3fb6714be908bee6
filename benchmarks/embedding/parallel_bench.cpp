// What parallel() gains over the same calls one after another, for pure Python work, in each mode
// that this Python has: pairs in turns, the median of the ratios. Prints one JSON object a line:
// {"python", "mode", "sequential_ms", "parallel_ms", "gain"}.
// Then how often a second a worker process calls a C++ function of this one, from one thread and
// from four: {"python", "threads", "callbacks_per_s"}.
//
// usage: parallel_bench [rounds, default 9]

#include "executors/python/python.h"
// Python.h first.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "executors/python/python_executor.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

constexpr int calls_at_once = 4;

// A folder with the module whose function is called.
class Module {
 public:
  Module() {
    std::string pattern = (std::filesystem::temp_directory_path() / "unirun-bench-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    std::ofstream(folder_ + "/bench_work.py")
        << "def count(n):\n    total = 0\n    for i in range(n):\n        total += i & 3\n"
           "    return total\n"
           "def call_back(threads, n):\n"
           "    import threading, time, unirun\n"
           "    def go():\n"
           "        for i in range(n): unirun.call('first', i, 1)\n"
           "    running = [threading.Thread(target=go) for _ in range(threads)]\n"
           "    begin = time.perf_counter()\n"
           "    for one in running: one.start()\n"
           "    for one in running: one.join()\n"
           "    return threads * n / (time.perf_counter() - begin)\n";
  }
  ~Module() { std::filesystem::remove_all(folder_); }
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  [[nodiscard]] const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
};

template <class Work>
double milliseconds_of(Work work) {
  const SystemClock clock;
  const Instant begin = clock.now();
  work();
  return std::chrono::duration<double, std::milli>(clock.now() - begin).count();
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<long>(values.size() / 2));
  return values[values.size() / 2];
}

void give_up(const Error& error) {
  std::fprintf(stderr, "parallel_bench: %s\n", error.message.c_str());
  std::exit(1);
}

void one_after_another(int n) {
  for (int i = 0; i < calls_at_once; ++i) {
    if (const auto done = PythonExecutor::call("bench_work", "count", {n}); !done.ok())
      give_up(done.error());
  }
}

void beside_one_another(int n, ExecutionMode mode) {
  const std::vector<CallSpec> calls(
      calls_at_once,
      CallSpec{.module = "bench_work", .function = "count", .args = {n}, .kwargs = {}});
  const auto done = PythonExecutor::parallel(calls, {.mode = mode}).get();
  if (!done.ok()) give_up(done.error());
  for (const auto& one : *done) {
    if (!one.ok()) give_up(one.error());
  }
}

void measure(ExecutionMode mode, int rounds, const std::string& folder) {
  PythonExecutor::Config config{.num_workers = 1};
  config.sys_path = {folder};
  config.allow_unsafe_subinterpreters = mode == ExecutionMode::subinterp;
  if (const auto started = PythonExecutor::start(config); !started.ok()) give_up(started.error());
  constexpr int n = 4'000'000;
  beside_one_another(1, mode);  // What runs them has begun.
  one_after_another(1);
  std::vector<double> sequential, parallel, gains;
  for (int round = 0; round < rounds; ++round) {
    sequential.push_back(milliseconds_of([] { one_after_another(n); }));
    parallel.push_back(milliseconds_of([mode] { beside_one_another(n, mode); }));
    gains.push_back(sequential.back() / parallel.back());
  }
  std::printf(
      "{\"python\": \"%s\", \"mode\": \"%s\", \"sequential_ms\": %.1f, \"parallel_ms\": %.1f, "
      "\"gain\": %.2f}\n",
      PY_VERSION, std::string(to_string(mode)).c_str(), median(sequential), median(parallel),
      median(gains));
  std::fflush(stdout);
  static_cast<void>(PythonExecutor::shutdown());
}

void measure_callbacks(int rounds, const std::string& folder) {
  PythonExecutor::Config config{.num_workers = 1};
  config.sys_path = {folder};
  if (const auto started = PythonExecutor::start(config); !started.ok()) give_up(started.error());
  const auto first = PythonExecutor::register_function(
      "first", [](const Args& args, const Kwargs&) { return args.values().front(); });
  for (const int threads : {1, 4}) {
    std::vector<double> rates;
    for (int round = 0; round < rounds; ++round) {
      const std::vector<CallSpec> calls{CallSpec{.module = "bench_work",
                                                 .function = "call_back",
                                                 .args = {threads, 20'000 / threads},
                                                 .kwargs = {}}};
      const auto done = PythonExecutor::parallel(calls, {.mode = ExecutionMode::process}).get();
      if (!done.ok()) give_up(done.error());
      if (!done->front().ok()) give_up(done->front().error());
      rates.push_back(done->front()->as_double());
    }
    std::printf("{\"python\": \"%s\", \"threads\": %d, \"callbacks_per_s\": %.0f}\n", PY_VERSION,
                threads, median(rates));
    std::fflush(stdout);
  }
  static_cast<void>(PythonExecutor::shutdown());
}

}  // namespace
}  // namespace unirun::python

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 9;
  const unirun::python::Module module;
  unirun::python::measure(unirun::python::ExecutionMode::process, rounds, module.folder());
#if PY_VERSION_HEX >= 0x030c0000
  unirun::python::measure(unirun::python::ExecutionMode::subinterp, rounds, module.folder());
#endif
  unirun::python::measure_callbacks(rounds, module.folder());
}
