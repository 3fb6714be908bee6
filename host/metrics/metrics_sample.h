// MetricsSample is what metrics are at one moment: values only, so that they can be put into words
// on any thread.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/service_state.h"
#include "framework/time.h"

namespace unirun {

// Words of ExitKind, "sibling" and "probe": static ones.
using ReasonCounts = std::vector<std::pair<std::string_view, std::uint64_t>>;

struct ServiceSample {
  std::string path;
  ServiceState state = ServiceState::stopped;
  Duration in_state{};
  std::optional<Duration> retry_in;  // Backing off for so long yet.
  std::uint64_t starts = 0;
  ReasonCounts exits, restarts;
  std::vector<std::pair<std::string, double>> counters, gauges;  // Its own.
  std::uint64_t refused = 0;
};

struct SupervisorSample {
  std::string path;
  bool up = false;
  std::uint64_t max_restarts = 0;
  std::uint64_t recent_restarts = 0;
  std::uint64_t given_up = 0;
};

struct LoopLagSample {  // Seconds.
  double p50 = 0, p99 = 0, max = 0;
};

struct MetricsSample {
  std::string host, version;
  double uptime = 0;  // Seconds.
  std::uint64_t events = 0, events_dropped = 0, warnings = 0;
  std::optional<LoopLagSample> loop_lag;  // Nothing: nobody measures it.
  std::vector<SupervisorSample> supervisors;
  std::vector<ServiceSample> services;
};

// Prometheus' text format, version 0.0.4. Thread: any.
[[nodiscard]] std::string metrics_text(const MetricsSample& sample);

}  // namespace unirun
