// From a spec to the probe that it asks for: what executors share. Of a process all kinds are
// possible; what lives inside the host has no process whose group a command could join, so there
// `exec` is refused by name unless the executor says how to run it.
//
// Thread: the loop's.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "executors/process/probe.h"
#include "executors/service_spec.h"

namespace unirun {

// Makes an ExecProbe of a command.
using MakeExecProbe = std::function<std::unique_ptr<Probe>(const std::vector<std::string>& argv)>;

struct PlannedProbe {
  const char* kind = "";         // "tcp"
  std::unique_ptr<Probe> probe;  // Null: the spec asks for none.
  ProbeLoop::Rhythm rhythm;
  unsigned max_failures = 1;
};

// Errors: an address, path or header that is none; `exec` where `make_exec` is empty.
[[nodiscard]] Result<PlannedProbe> plan_probe(EventLoop& loop, const Readiness& readiness,
                                              const MakeExecProbe& make_exec);
[[nodiscard]] Result<PlannedProbe> plan_probe(EventLoop& loop, const Liveness& liveness,
                                              const MakeExecProbe& make_exec);

// Asks until the first good answer; then calls `on_ready`, which may destroy the loop.
[[nodiscard]] std::unique_ptr<ProbeLoop> probe_readiness(EventLoop& loop, PlannedProbe plan,
                                                         std::function<void()> on_ready);

// Asks until `max_failures` bad answers have come in a row; then calls `on_silent`, which may
// destroy the loop: the probe's kind, what it said, how long since the last good answer.
using OnSilent =
    std::function<void(const std::string& kind, const std::string& failure, Duration silence)>;
[[nodiscard]] std::unique_ptr<ProbeLoop> probe_liveness(EventLoop& loop, PlannedProbe plan,
                                                        OnSilent on_silent);

}  // namespace unirun
