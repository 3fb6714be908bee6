// E16: what get_stats() says, of tasks of every origin.

#include <atomic>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "framework/lag_histogram.h"
#include "tests/python_executor/async_scene.h"

namespace unirun::python {

using namespace std::chrono_literals;

namespace {

constexpr const char* scene = R"(
import asyncio, time

def echo(value): return value
def fail(): raise ValueError("as it should")
def nap(seconds): time.sleep(seconds)
async def rest(seconds): await asyncio.sleep(seconds)
def items(count): yield from range(count)
)";

std::uint64_t ended_in(const Stats& stats) {
  return stats.tasks_executed + stats.tasks_failed + stats.cancelled + stats.timed_out +
         stats.rejected;
}

// What anybody may have the executor do, each once.
std::vector<std::function<void()>> origins(Context& context) {
  return {
      [] { static_cast<void>(PythonExecutor::submit([] { return 1; })); },
      [] { PythonExecutor::submit([] { return 1; }).cancel(); },
      [] { static_cast<void>(PythonExecutor::submit_timeout([] { return 1; }, 0)); },
      [] { static_cast<void>(PythonExecutor::submit_timeout([] { return 1; }, 200'000)); },
      [] { static_cast<void>(PythonExecutor::submit([] { return 1; }, {.priority = 3})); },
      [] { static_cast<void>(PythonExecutor::call("scene", "fail")); },
      [&] { static_cast<void>(context.call("scene", "echo", {1})); },
      [&] {
        static_cast<void>(PythonExecutor::submit([] { return 1; }, {.context = context.id()}));
      },
      [] {
        const auto other = PythonExecutor::bind();
        static_cast<void>(PythonExecutor::submit([] { return 1; }, {.context = ContextId{1}}));
      },
      [] { static_cast<void>(PythonExecutor::async_call("scene", "rest", {0.0001})); },
      [] { PythonExecutor::async_call("scene", "rest", {60}).cancel(); },
      [] { static_cast<void>(PythonExecutor::async_call("scene", "echo", {1})); },
      [] {
        const std::vector<CallSpec> calls{{"scene", "echo", {1}}, {"scene", "rest", {0.0001}}};
        static_cast<void>(PythonExecutor::gather(calls).get());
      },
      [] {
        const std::vector<CallSpec> calls{{"scene", "echo", {1}}, {"scene", "fail"}};
        static_cast<void>(
            PythonExecutor::parallel(calls, {.mode = ExecutionMode::multi_executor}).get());
      },
      [] { static_cast<void>(PythonExecutor::stream("scene", "items", {100})); },
  };
}

}  // namespace

TEST_CASE("A16: tasks of every origin add up in 10,000 snapshots under load") {
  const Scene running(scene, {.num_workers = 2, .queue_size = 100});
  {
    auto context = PythonExecutor::bind();
    REQUIRE(context.ok());
    const auto all = origins(*context);
    std::atomic<bool> over{false};
    std::atomic<int> rounds{0};
    std::vector<std::thread> producers;
    for (int producer = 0; producer < 2; ++producer) {
      producers.emplace_back([&] {
        while (!over) {
          for (const auto& origin : all) origin();
          ++rounds;
        }
      });
    }
    for (int snapshot = 0; snapshot < 10000 || rounds < 20; ++snapshot) {
      const Stats stats = PythonExecutor::get_stats();
      REQUIRE(stats.submitted == ended_in(stats) + stats.tasks_queued + stats.running);
      REQUIRE(stats.tasks_queued <= stats.submitted);  // Or it would be below zero.
      REQUIRE(stats.running <= stats.submitted);
      if (snapshot % 100 == 0) std::this_thread::yield();
    }
    over = true;
    for (std::thread& producer : producers) producer.join();
  }
  REQUIRE(PythonExecutor::shutdown({.drain = patience}).ok());
  const Stats stats = PythonExecutor::get_stats();
  CHECK(stats.tasks_queued + stats.running == 0);
  CHECK(stats.submitted == ended_in(stats));
  CHECK(stats.tasks_failed > 0);
  CHECK(stats.timed_out > 0);
  CHECK(stats.cancelled > 0);
}

TEST_CASE("A16: histograms say how long tasks waited and ran, and each worker's share") {
  const Scene running(scene, {.num_workers = 2});
  std::vector<future<Value>> naps;
  for (int n = 0; n < 32; ++n)
    naps.push_back(PythonExecutor::async_call("scene", n % 2 == 0 ? "nap" : "rest", {0.01}));
  for (auto& nap : naps) REQUIRE(nap.get().ok());
  REQUIRE(PythonExecutor::shutdown({.drain = patience}).ok());
  const Stats stats = PythonExecutor::get_stats();
  CHECK(stats.execution.count() >= 2);  // One in sixteen at least, each with its weight.
  CHECK(stats.execution.max() >= 9ms);
  CHECK(stats.execution.quantile(0.5) <= stats.execution.quantile(0.99));
  CHECK(stats.execution.quantile(0.99) <= stats.execution.max());
  CHECK(stats.queue_wait.count() == stats.execution.count());
  CHECK(stats.queue_wait.sum() > 0ms);
  CHECK(stats.gil_wait.count() > 0);
  CHECK(stats.avg_execution_time_ns == static_cast<std::uint64_t>(stats.execution.mean().count()));
  REQUIRE(stats.per_worker.size() == 2);
  CHECK(stats.per_worker[0].executed + stats.per_worker[1].executed + 16 == stats.tasks_executed);
}

TEST_CASE("A16: histograms add up, and know what is below a power of two") {
  LagHistogram one;
  LagHistogram other;
  one.record(1023ns);
  one.record(1024ns, 8);
  other.record(5us);
  Histogram both = one.read();
  both.add(other.read());
  CHECK(both.count() == 10);
  CHECK(both.count_below_bits(10) == 1);
  CHECK(both.count_below_bits(11) == 9);
  CHECK(both.count_below_bits(40) == 10);
  CHECK(both.sum() == 1023ns + 8 * 1024ns + 5us);
  CHECK(both.mean() == both.sum() / 10);
  CHECK(both.max() == 5us);
  CHECK(both.quantile(1) == 5us);
  CHECK(both.quantile(0.1) == 1023ns);
  CHECK(Histogram{}.mean() == 0ns);
  CHECK(Histogram{}.quantile(0.99) == 0ns);
}

TEST_CASE("A16: the text for Prometheus has each figure once, and buckets that add up") {
  LagHistogram waits;
  waits.record(2us, 3);
  waits.record(1s);
  Stats stats;
  stats.submitted = 7;
  stats.tasks_failed = 2;
  stats.queue_wait = waits.read();
  stats.per_worker.push_back({.id = 1, .executed = 4, .is_busy = true});
  std::istringstream text(prometheus_text(stats));
  std::map<std::string, double> values;
  std::string line;
  double before = 0;
  while (std::getline(text, line)) {
    if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) continue;
    const std::size_t space = line.rfind(' ');
    REQUIRE(space != std::string::npos);
    const std::string name = line.substr(0, space);
    const double value = std::stod(line.substr(space));
    CHECK_MESSAGE(values.emplace(name, value).second, name);
    if (!name.starts_with("unirun_python_queue_wait_seconds_bucket")) continue;
    CHECK(value >= before);
    before = value;
  }
  CHECK(values.at("unirun_python_tasks_submitted_total") == 7);
  CHECK(values.at("unirun_python_tasks_ended_total{outcome=\"failed\"}") == 2);
  CHECK(values.at("unirun_python_worker_tasks_total{worker=\"1\",outcome=\"executed\"}") == 4);
  CHECK(values.at("unirun_python_worker_busy{worker=\"1\"}") == 1);
  CHECK(values.at("unirun_python_queue_wait_seconds_bucket{le=\"1.023e-06\"}") == 0);
  CHECK(values.at("unirun_python_queue_wait_seconds_bucket{le=\"4.095e-06\"}") == 3);
  CHECK(values.at("unirun_python_queue_wait_seconds_bucket{le=\"+Inf\"}") == 4);
  CHECK(values.at("unirun_python_queue_wait_seconds_count") == 4);
  CHECK(values.at("unirun_python_queue_wait_seconds_sum") == doctest::Approx(1.000006));
}

}  // namespace unirun::python
