// Metrics counts what happens to services, and keeps what they count about themselves, for whoever
// asks for /metrics. A service to which nothing has happened yet costs no memory here.
//
// Bounded: reasons are a closed set; a service may have so many counters and gauges of its own, and
// what is more is left out and counted. What belongs to a service ends when its spec is gone.
//
// Thread: the loop's, but for count() and gauge(), which any thread may call.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executors/service_metrics.h"
#include "framework/event_bus.h"
#include "framework/time.h"
#include "host/metrics/metrics_sample.h"
#include "supervisors/snapshot.h"

namespace unirun {

// How the tasks stand that a service has given to pools of its own (docs/run.md): what it tells
// under the names tasks_submitted, tasks_completed and so on.
struct TaskCounts {
  std::uint64_t submitted = 0, completed = 0, failed = 0, cancelled = 0;  // Over all of its runs.
  std::uint64_t queued = 0, running = 0;                                  // Now.
};

class Metrics final : public ServiceMetrics {
 public:
  static constexpr std::size_t max_names = 100;        // Counters and gauges of one service.
  static constexpr std::size_t max_name_length = 128;  // Bytes.

  // `bus` outlives the metrics.
  explicit Metrics(EventBus& bus);

  void count(std::string_view path, std::string_view name, double by) override;
  void gauge(std::string_view path, RunId run, std::string_view name, double value) override;

  // Nothing: the service at `path` has had no pool yet.
  [[nodiscard]] std::optional<TaskCounts> tasks(std::string_view path) const;

  // All there is to tell, with what the tree says. Forgets services that the tree does not know.
  [[nodiscard]] MetricsSample sample(const TreeSnapshot& tree, Instant now);

 private:
  // What has happened to one service since its first death.
  struct History {
    std::uint64_t starts = 1;
    std::string_view last_reason = "start_failed";  // Static: a word of ExitKind.
    ReasonCounts exits, restarts;
  };
  // What one service has told.
  struct Told {
    std::map<std::string, double, std::less<>> counters, gauges;
    RunId run = RunId::none;  // That has set the gauges.
    std::uint64_t refused = 0;
  };

  void observe(const Event& event);
  void on_starting(const std::string& path, const ServiceStarting& start);
  void forget(const std::string& path);
  void keep_only(const std::vector<ServiceSample>& services);
  void add_rows(const TreeSnapshot& node, Instant now, MetricsSample& sample) const;
  [[nodiscard]] static double* slot(Told& told, std::map<std::string, double, std::less<>>& values,
                                    std::string_view name);

  EventBus& bus_;
  std::map<std::string, History, std::less<>> histories_;
  std::map<std::string, std::uint64_t, std::less<>> given_up_;  // By the supervisor's path.
  std::uint64_t warnings_ = 0;

  mutable std::mutex mutex_;                       // For an instant: a look-up and an addition.
  std::map<std::string, Told, std::less<>> told_;  // Guarded by mutex_; by path.
  Subscription subscription_;
};

}  // namespace unirun
