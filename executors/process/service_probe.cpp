#include "executors/process/service_probe.h"

#include <utility>

#include "executors/process/http_probe.h"

namespace unirun {
namespace {

// How long one try of a TCP readiness may take; a local one is answered in microseconds.
constexpr Duration tcp_readiness_timeout = std::chrono::seconds{1};

Result<std::unique_ptr<Probe>> exec_probe(const MakeExecProbe& make,
                                          const std::vector<std::string>& argv) {
  if (make) return make(argv);
  return Error{Errc::start_failed,
               "exec probe: only a service in a process of its own can have one; use http or tcp"};
}

// Readiness and liveness differ in when they begin.
Result<PlannedProbe> planned(const char* what, const char* kind,
                             Result<std::unique_ptr<Probe>> probe, ProbeLoop::Rhythm rhythm,
                             unsigned max_failures) {
  if (!probe) {
    return Error{probe.error().code, std::string(what) + ": " + probe.error().message};
  }
  return PlannedProbe{kind, std::move(*probe), rhythm, max_failures};
}

}  // namespace

Result<PlannedProbe> plan_probe(EventLoop& loop, const Readiness& readiness,
                                const MakeExecProbe& make_exec) {
  constexpr const char* what = "readiness";
  if (const auto* tcp = std::get_if<TcpReadiness>(&readiness)) {
    return planned(what, "tcp", TcpProbe::make(loop, tcp->address, tcp->port),
                   {Duration::zero(), tcp->interval, tcp_readiness_timeout}, 1);
  }
  if (const auto* http = std::get_if<HttpReadiness>(&readiness)) {
    return planned(what, "http", HttpProbe::make(loop, http->check),
                   {Duration::zero(), http->interval, http->timeout}, 1);
  }
  if (const auto* exec = std::get_if<ExecReadiness>(&readiness)) {
    return planned(what, "exec", exec_probe(make_exec, exec->argv),
                   {Duration::zero(), exec->interval, exec->timeout}, 1);
  }
  return PlannedProbe{};
}

Result<PlannedProbe> plan_probe(EventLoop& loop, const Liveness& liveness,
                                const MakeExecProbe& make_exec) {
  constexpr const char* what = "liveness";
  if (const auto* tcp = std::get_if<TcpLiveness>(&liveness)) {
    return planned(what, "tcp", TcpProbe::make(loop, tcp->address, tcp->port),
                   {tcp->interval, tcp->interval, tcp->timeout}, tcp->max_failures);
  }
  if (const auto* http = std::get_if<HttpLiveness>(&liveness)) {
    return planned(what, "http", HttpProbe::make(loop, http->check),
                   {http->interval, http->interval, http->timeout}, http->max_failures);
  }
  if (const auto* exec = std::get_if<ExecLiveness>(&liveness)) {
    return planned(what, "exec", exec_probe(make_exec, exec->argv),
                   {exec->interval, exec->interval, exec->timeout}, exec->max_failures);
  }
  return PlannedProbe{};
}

std::unique_ptr<ProbeLoop> probe_readiness(EventLoop& loop, PlannedProbe plan,
                                           std::function<void()> on_ready) {
  return std::make_unique<ProbeLoop>(
      loop, std::move(plan.probe), plan.rhythm,
      [on_ready = std::move(on_ready)](const std::optional<std::string>& failure) {
        if (failure) return true;
        on_ready();
        return false;
      });
}

std::unique_ptr<ProbeLoop> probe_liveness(EventLoop& loop, PlannedProbe plan, OnSilent on_silent) {
  struct Row {
    unsigned failures = 0;
    Instant last_success;
  };
  auto row = std::make_shared<Row>(Row{0, loop.clock().now()});
  return std::make_unique<ProbeLoop>(
      loop, std::move(plan.probe), plan.rhythm,
      [&loop, row, kind = std::string(plan.kind), most = plan.max_failures,
       on_silent = std::move(on_silent)](const std::optional<std::string>& failure) {
        const Instant now = loop.clock().now();
        if (!failure) {
          *row = {0, now};
          return true;
        }
        if (++row->failures < most) return true;
        on_silent(kind, *failure, now - row->last_success);
        return false;
      });
}

}  // namespace unirun
