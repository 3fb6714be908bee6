#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "host/metrics/metrics.h"
#include "tests/host/test_host.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

struct Counted {
  SystemClock clock;
  EventBus bus{clock};
  Metrics metrics{bus};

  // A tree of one supervisor with these services, all running.
  [[nodiscard]] std::string text(const std::vector<std::string>& ids) {
    TreeSnapshot root, top;
    top.child.id = top.child.path = "p";
    top.child.type = ChildType::supervisor;
    top.supervisor.emplace();
    for (const std::string& id : ids) {
      TreeSnapshot service;
      service.child.id = id;
      service.child.path = "p/" + id;
      service.child.state = ServiceState::running;
      service.child.run = RunId{7};
      top.children.push_back(service);
    }
    root.children.push_back(top);
    return metrics_text(metrics.sample(root, clock.now()));
  }
};

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST_CASE("metrics: a host that runs tells of itself, its supervisors and its services") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory));
  test.start_and_wait();
  test.executor.crash("pipeline/ingest", 7);
  run_loop_until(test.loop,
                 [&] { return test.count(EventKind::service_started, "pipeline/ingest") == 2; });
  const auto answer = test.ask("metrics");
  REQUIRE(answer.ok());
  const auto text = (*answer)["text"].get<std::string>();
  INFO(text);
  CHECK(text.find("unirun_host_info{host=\"test\",version=") != std::string::npos);
  CHECK(text.find("# TYPE unirun_host_uptime_seconds gauge\n") != std::string::npos);
  CHECK(has_line(text, "unirun_events_dropped_total 0"));
  CHECK(has_line(text, "unirun_supervisor_up{supervisor=\"pipeline\"} 1"));
  CHECK(has_line(text, "unirun_supervisor_recent_restarts{supervisor=\"pipeline\"} 1"));
  CHECK(has_line(text, "unirun_supervisor_max_restarts{supervisor=\"pipeline\"} 3"));
  CHECK(has_line(text, "unirun_service_up{service=\"pipeline/ingest\"} 1"));
  CHECK(has_line(text, "unirun_service_state{service=\"pipeline/ingest\",state=\"running\"} 1"));
  CHECK(has_line(text, "unirun_service_starts_total{service=\"pipeline/broker\"} 1"));
  CHECK(has_line(text, "unirun_service_starts_total{service=\"pipeline/ingest\"} 2"));
  CHECK(has_line(
      text, "unirun_service_restarts_total{service=\"pipeline/ingest\",reason=\"exit_code\"} 1"));
  CHECK(has_line(text,
                 "unirun_service_exits_total{service=\"pipeline/ingest\",reason=\"exit_code\"} 1"));
  CHECK(text.find("unirun_service_exits_total{service=\"pipeline/broker\"") == std::string::npos);
  CHECK(text.find("unirun_loop_lag_seconds") == std::string::npos);  // Nobody has measured it.
}

TEST_CASE("metrics: a sibling's restart is told apart, and a command's is none") {
  Counted counted;
  const auto start = [&](StartCause cause) {
    counted.bus.publish("p/a", ServiceStarting{RunId{8}, cause, 1});
  };
  counted.bus.publish("p/a", ServiceExited{.reason = ExitReason::shutdown(), .expected = true});
  start(StartCause::sibling);
  start(StartCause::command);
  start(StartCause::probe);
  const std::string text = counted.text({"a"});
  INFO(text);
  CHECK(has_line(text, "unirun_service_restarts_total{service=\"p/a\",reason=\"sibling\"} 1"));
  CHECK(has_line(text, "unirun_service_restarts_total{service=\"p/a\",reason=\"probe\"} 1"));
  CHECK(has_line(text, "unirun_service_exits_total{service=\"p/a\",reason=\"shutdown\"} 1"));
  CHECK(has_line(text, "unirun_service_starts_total{service=\"p/a\"} 4"));
}

TEST_CASE("metrics: counters live over runs, gauges end with theirs, both with the spec") {
  Counted counted;
  counted.metrics.count("p/a", "jobs \"done\"\n", 2);
  counted.metrics.count("p/a", "jobs \"done\"\n", 0.5);
  counted.metrics.gauge("p/a", RunId{7}, "depth", 7);
  counted.metrics.gauge("p/a", RunId{7}, "depth", -3);
  std::string text = counted.text({"a"});
  INFO(text);
  CHECK(has_line(
      text, "unirun_service_counter_total{service=\"p/a\",name=\"jobs \\\"done\\\"\\n\"} 2.5"));
  CHECK(has_line(text, "unirun_service_gauge{service=\"p/a\",name=\"depth\"} -3"));

  counted.metrics.gauge("p/a", RunId{8}, "height", 1);  // The next run, before the news of the end.
  counted.bus.publish("p/a", ServiceExited{.run = RunId{7}, .reason = ExitReason::normal()});
  text = counted.text({"a"});
  CHECK(text.find("name=\"depth\"") == std::string::npos);
  CHECK(has_line(text, "unirun_service_gauge{service=\"p/a\",name=\"height\"} 1"));
  counted.bus.publish("p/a", ServiceExited{.run = RunId{8}, .reason = ExitReason::normal()});
  text = counted.text({"a"});
  CHECK(text.find("unirun_service_gauge{") == std::string::npos);
  CHECK(text.find("unirun_service_counter_total{") != std::string::npos);

  counted.bus.publish("p/a", ServiceRemoved{});
  text = counted.text({"a"});
  CHECK(text.find("unirun_service_counter_total{") == std::string::npos);
  CHECK(text.find("unirun_service_exits_total{") == std::string::npos);
}

TEST_CASE(
    "metrics: what the tree does not know is forgotten, and a supervisor takes its own along") {
  Counted counted;
  counted.metrics.count("p/gone", "done", 1);
  CHECK(counted.text({"a"}).find("gone") == std::string::npos);
  CHECK(counted.text({"gone"}).find("unirun_service_counter_total") == std::string::npos);

  counted.metrics.count("p/a", "done", 1);
  counted.metrics.count("pa/a", "done", 1);
  counted.bus.publish("p", ServiceRemoved{});
  CHECK(counted.text({"a"}).find("unirun_service_counter_total") == std::string::npos);
}

TEST_CASE("metrics: names are bounded, and what is no number is refused and counted") {
  Counted counted;
  for (std::size_t i = 0; i < Metrics::max_names + 5; ++i) {
    counted.metrics.count("p/a", "name-" + std::to_string(i), 1);
  }
  counted.metrics.count("p/a", "name-0", -1);
  counted.metrics.count("p/a", "name-0", std::nan(""));
  counted.metrics.gauge("p/b", RunId{7}, std::string(Metrics::max_name_length + 1, 'x'), 1);
  counted.metrics.gauge("p/b", RunId{7}, "", 1);
  counted.metrics.gauge("p/b", RunId{7}, "fine", std::numeric_limits<double>::infinity());
  const std::string text = counted.text({"a", "b"});
  CHECK(has_line(text, "unirun_service_metrics_refused_total{service=\"p/a\"} 7"));
  CHECK(has_line(text, "unirun_service_metrics_refused_total{service=\"p/b\"} 2"));
  CHECK(has_line(text, "unirun_service_counter_total{service=\"p/a\",name=\"name-0\"} 1"));
  CHECK(has_line(text, "unirun_service_gauge{service=\"p/b\",name=\"fine\"} +Inf"));
}

TEST_CASE("metrics: the lag of the loop is shown where it is measured") {
  MetricsSample sample;
  CHECK(metrics_text(sample).find("unirun_loop_lag_seconds") == std::string::npos);
  sample.loop_lag = LoopLagSample{0.001, 0.25, 0.5};
  const std::string text = metrics_text(sample);
  CHECK(has_line(text, "unirun_loop_lag_seconds{quantile=\"0.99\"} 0.25"));
  CHECK(has_line(text, "unirun_loop_lag_seconds{quantile=\"1\"} 0.5"));
}

TEST_CASE("metrics: services count from any thread, and nothing is lost") {
  Counted counted;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&counted, i] {
      for (int n = 0; n < 10'000; ++n) {
        counted.metrics.count("p/a", "all", 1);
        counted.metrics.gauge("p/" + std::to_string(i), RunId{7}, "own", n);
      }
    });
  }
  while (counted.text({"a", "0", "1", "2", "3"}).find("} 40000\n") == std::string::npos) {
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("metrics: the tasks of a service's pools are told, over its runs") {
  Counted counted;
  counted.metrics.count("p/a", "other", 1);
  CHECK_FALSE(counted.metrics.tasks("p/a"));
  CHECK_FALSE(counted.metrics.tasks("p/b"));
  counted.metrics.count("p/a", "tasks_submitted", 5);
  counted.metrics.count("p/a", "tasks_completed", 2);
  counted.metrics.count("p/a", "tasks_failed", 1);
  counted.metrics.gauge("p/a", RunId{7}, "tasks_queued", -1);  // Nonsense does no harm.
  counted.metrics.gauge("p/a", RunId{7}, "tasks_running", std::numeric_limits<double>::infinity());
  auto tasks = counted.metrics.tasks("p/a");
  REQUIRE(tasks);
  CHECK(tasks->submitted == 5);
  CHECK(tasks->completed == 2);
  CHECK(tasks->failed == 1);
  CHECK(tasks->cancelled == 0);
  CHECK(tasks->queued == 0);
  CHECK(tasks->running > 0);

  counted.bus.publish("p/a", ServiceExited{.run = RunId{7}, .reason = ExitReason::normal()});
  tasks = counted.metrics.tasks("p/a");
  REQUIRE(tasks);
  CHECK(tasks->submitted == 5);
  CHECK(tasks->running == 0);
}

TEST_CASE("metrics: a service that nothing happened to costs nothing here") {
  Counted counted;
  counted.bus.publish("p/a", ServiceStarting{RunId{7}, StartCause::initial, 0});
  const std::string text = counted.text({"a"});
  CHECK(has_line(text, "unirun_service_starts_total{service=\"p/a\"} 1"));
  CHECK(text.find("unirun_service_restarts_total") == std::string::npos);
}

}  // namespace
}  // namespace unirun
