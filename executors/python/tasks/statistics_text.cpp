#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "executors/python/tasks/statistics.h"

namespace unirun::python {
namespace {

double in_seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

class SampleWriter {
 public:
  void begin(std::string_view name, std::string_view help, std::string_view type) {
    add("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  // One of a family. `labels` is empty, or in braces.
  void value(std::string_view name, std::string_view labels, std::uint64_t value) {
    add("{}{} {}\n", name, labels, value);
  }
  void counter(std::string_view name, std::string_view help, std::uint64_t value) {
    begin(name, help, "counter");
    this->value(name, "", value);
  }
  void gauge(std::string_view name, std::string_view help, std::uint64_t value) {
    begin(name, help, "gauge");
    this->value(name, "", value);
  }

  // Buckets from a microsecond to a quarter of an hour, each four times the one before; what is
  // "up to" each is exact, in whole nanoseconds.
  void histogram(std::string_view name, std::string_view help, const Histogram& times) {
    begin(name, help, "histogram");
    for (unsigned bits = 10; bits <= 40; bits += 2) {
      const Duration most{(std::int64_t{1} << bits) - 1};
      add("{}_bucket{{le=\"{}\"}} {}\n", name, in_seconds(most), times.count_below_bits(bits));
    }
    add("{}_bucket{{le=\"+Inf\"}} {}\n", name, times.count());
    add("{}_sum {}\n{}_count {}\n", name, in_seconds(times.sum()), name, times.count());
  }

  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  template <class... Parts>
  void add(fmt::format_string<Parts...> format, Parts&&... parts) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Parts>(parts)...);
  }

  std::string text_;
};

// By how they ended: with those that wait and run they are all that were submitted.
void write_tasks(const Stats& stats, SampleWriter& to) {
  to.counter("unirun_python_tasks_submitted_total", "Tasks of every origin.", stats.submitted);
  constexpr std::string_view ended = "unirun_python_tasks_ended_total";
  to.begin(ended, "Tasks, by how they ended.", "counter");
  to.value(ended, "{outcome=\"executed\"}", stats.tasks_executed);
  to.value(ended, "{outcome=\"failed\"}", stats.tasks_failed);
  to.value(ended, "{outcome=\"cancelled\"}", stats.cancelled);
  to.value(ended, "{outcome=\"timed_out\"}", stats.timed_out);
  to.value(ended, "{outcome=\"rejected\"}", stats.rejected);
  to.counter("unirun_python_interruptions_total", "Sent to code that ran.", stats.interrupted);
  to.gauge("unirun_python_tasks_queued", "Tasks that wait.", stats.tasks_queued);
  to.gauge("unirun_python_tasks_running", "Tasks that run.", stats.running);
}

void write_workers(const Stats& stats, SampleWriter& to) {
  to.gauge("unirun_python_workers", "Threads that run tasks.", stats.workers);
  to.gauge("unirun_python_workers_stuck", "Threads that were given up.", stats.stuck);
  to.gauge("unirun_python_waiting_chains", "Chains of who waits for whom, each counted once.",
           stats.waiting.size());
  constexpr std::string_view executed = "unirun_python_worker_tasks_total";
  to.begin(executed, "Tasks that each worker ran, by how they ended.", "counter");
  for (const WorkerStats& worker : stats.per_worker) {
    const auto value = [&](std::string_view outcome, std::uint64_t count) {
      to.value(executed, fmt::format("{{worker=\"{}\",outcome=\"{}\"}}", worker.id, outcome),
               count);
    };
    value("executed", worker.executed);
    value("failed", worker.failed);
    value("cancelled", worker.cancelled);
    value("timed_out", worker.timed_out);
  }
  constexpr std::string_view busy = "unirun_python_worker_busy";
  to.begin(busy, "Whether each worker runs a task.", "gauge");
  for (const WorkerStats& worker : stats.per_worker)
    to.value(busy, fmt::format("{{worker=\"{}\"}}", worker.id), worker.is_busy ? 1 : 0);
}

}  // namespace

std::string prometheus_text(const Stats& stats) {
  SampleWriter to;
  write_tasks(stats, to);
  write_workers(stats, to);
  to.histogram("unirun_python_queue_wait_seconds", "From submission to the first statement.",
               stats.queue_wait);
  to.histogram("unirun_python_execution_seconds", "From the first statement to the end.",
               stats.execution);
  to.histogram("unirun_python_gil_wait_seconds", "Each time that a worker asks for the GIL.",
               stats.gil_wait);
  return to.take();
}

}  // namespace unirun::python
