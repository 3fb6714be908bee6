// The one place that knows prometheus-cpp: its model and its text, not its registry. What is known
// here lies in the tree already; a registry would keep all of it a second time, for each of 10,000
// services, and most of it would never be asked for.

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <sstream>
#include <utility>

#include "host/metrics/metrics_sample.h"

namespace unirun {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

double in_seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// One family at a time is built, written and forgotten: a host of 10,000 services has some 100,000
// series.
class Writer {
 public:
  // `fill` adds the family's series; one without any is not written.
  template <class Fill>
  void family(const char* name, const char* help, MetricType type, Fill fill) {
    MetricFamily family;
    family.name = name;
    family.help = help;
    family.type = type;
    fill([&](Labels labels, double value) {
      ClientMetric& metric = family.metric.emplace_back();
      metric.label = std::move(labels);
      (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    });
    if (!family.metric.empty()) serializer_.Serialize(text_, {std::move(family)});
  }
  void value(const char* name, const char* help, MetricType type, double value) {
    family(name, help, type, [&](const auto& add) { add({}, value); });
  }
  [[nodiscard]] std::string text() const { return text_.str(); }

 private:
  prometheus::TextSerializer serializer_;
  std::ostringstream text_;
};

Labels of(const std::string& path) { return {{"service", path}}; }
Labels of(const std::string& path, const char* label, std::string_view value) {
  return {{"service", path}, {label, std::string(value)}};
}

void write_host(const MetricsSample& sample, Writer& to) {
  to.family("unirun_host_info", "The host that answers.", MetricType::Gauge, [&](const auto& add) {
    add({{"host", sample.host}, {"version", sample.version}}, 1);
  });
  to.value("unirun_host_uptime_seconds", "Since the host has started.", MetricType::Gauge,
           sample.uptime);
  to.value("unirun_events_total", "Events that have a number, earlier hosts' included.",
           MetricType::Counter, static_cast<double>(sample.events));
  to.value("unirun_events_dropped_total",
           "Deliveries of events that a slow observer had no room for.", MetricType::Counter,
           static_cast<double>(sample.events_dropped));
  to.value("unirun_warnings_total", "Things degraded, not stopped.", MetricType::Counter,
           static_cast<double>(sample.warnings));
  to.family("unirun_loop_lag_seconds", "How late the loop came to what was due, since its start.",
            MetricType::Gauge, [&](const auto& add) {
              if (!sample.loop_lag) return;
              add({{"quantile", "0.5"}}, sample.loop_lag->p50);
              add({{"quantile", "0.99"}}, sample.loop_lag->p99);
              add({{"quantile", "1"}}, sample.loop_lag->max);
            });
}

void write_supervisors(const MetricsSample& sample, Writer& to) {
  const auto each = [&](const auto& value) {
    return [&sample, value](const auto& add) {
      for (const SupervisorSample& one : sample.supervisors) {
        add({{"supervisor", one.path}}, static_cast<double>(value(one)));
      }
    };
  };
  to.family("unirun_supervisor_up", "1 while all of its first start stands.", MetricType::Gauge,
            each([](const SupervisorSample& one) { return one.up ? 1 : 0; }));
  to.family("unirun_supervisor_recent_restarts", "Restarts within the present window.",
            MetricType::Gauge,
            each([](const SupervisorSample& one) { return one.recent_restarts; }));
  to.family("unirun_supervisor_max_restarts", "Restarts that a window may hold.", MetricType::Gauge,
            each([](const SupervisorSample& one) { return one.max_restarts; }));
  to.family("unirun_supervisor_gave_up_total", "Windows with one restart too many.",
            MetricType::Counter, each([](const SupervisorSample& one) { return one.given_up; }));
}

void write_services(const MetricsSample& sample, Writer& to) {
  const auto each = [&](const auto& write) {
    return [&sample, write](const auto& add) {
      for (const ServiceSample& one : sample.services) write(one, add);
    };
  };
  const auto by_reason = [&](ReasonCounts ServiceSample::*counts) {
    return each([counts](const ServiceSample& one, const auto& add) {
      for (const auto& [reason, count] : one.*counts) {
        add(of(one.path, "reason", reason), static_cast<double>(count));
      }
    });
  };
  to.family("unirun_service_up", "1 while it runs and is ready.", MetricType::Gauge,
            each([](const ServiceSample& one, const auto& add) {
              add(of(one.path), one.state == ServiceState::running ? 1 : 0);
            }));
  to.family("unirun_service_state", "1 for the state that it is in.", MetricType::Gauge,
            each([](const ServiceSample& one, const auto& add) {
              add(of(one.path, "state", to_string(one.state)), 1);
            }));
  to.family("unirun_service_uptime_seconds", "Since it has been ready.", MetricType::Gauge,
            each([](const ServiceSample& one, const auto& add) {
              if (one.state == ServiceState::running) add(of(one.path), in_seconds(one.in_state));
            }));
  to.family("unirun_service_starts_total", "Tries to start it, whatever asked for them.",
            MetricType::Counter, each([](const ServiceSample& one, const auto& add) {
              add(of(one.path), static_cast<double>(one.starts));
            }));
  to.family("unirun_service_restarts_total", "Automatic restarts, by what they followed.",
            MetricType::Counter, by_reason(&ServiceSample::restarts));
  to.family("unirun_service_exits_total", "Ends of it, by kind.", MetricType::Counter,
            by_reason(&ServiceSample::exits));
  to.family("unirun_service_backoff_seconds", "Until the next try, while one is waited for.",
            MetricType::Gauge, each([](const ServiceSample& one, const auto& add) {
              if (one.retry_in) add(of(one.path), in_seconds(*one.retry_in));
            }));
}

void write_own(const MetricsSample& sample, Writer& to) {
  const auto named = [&](auto values) {
    return [&sample, values](const auto& add) {
      for (const ServiceSample& one : sample.services) {
        for (const auto& [name, value] : one.*values) add(of(one.path, "name", name), value);
      }
    };
  };
  to.family("unirun_service_counter_total", "context.counter(name) of the service.",
            MetricType::Counter, named(&ServiceSample::counters));
  to.family("unirun_service_gauge", "context.gauge(name) of the service.", MetricType::Gauge,
            named(&ServiceSample::gauges));
  to.family("unirun_service_metrics_refused_total",
            "Values that were not kept: too many names, one too long, no number.",
            MetricType::Counter, [&](const auto& add) {
              for (const ServiceSample& one : sample.services) {
                if (one.refused > 0) add(of(one.path), static_cast<double>(one.refused));
              }
            });
}

}  // namespace

std::string metrics_text(const MetricsSample& sample) {
  Writer writer;
  write_host(sample, writer);
  write_supervisors(sample, writer);
  write_services(sample, writer);
  write_own(sample, writer);
  return writer.text();
}

}  // namespace unirun
