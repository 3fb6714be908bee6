// What the host and a Python worker say to each other over the control channel, between JSON and
// values. A worker may send anything: what is missing or of another type is read as empty.
//
//   host -> worker: {"type": "start", ...} first, {"type": "cancel"}
//   worker -> host: "ready", "heartbeat", "status", "log", "metrics", "exception", "ignore",
//                   "waiting"
//
// Thread: any.

#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "executors/executor.h"
#include "executors/process/exit_mapping.h"
#include "executors/service_metrics.h"
#include "framework/event.h"

namespace unirun {

// All that a worker needs to know of its service. REQUIRES: a Python target. `run` is for a worker
// that was forked before there was a run: others find it in their environment.
[[nodiscard]] nlohmann::json start_message(const Launch& launch, const std::string& control_socket,
                                           std::optional<RunId> run);

[[nodiscard]] std::string text_of(const nlohmann::json& message, const char* member);

[[nodiscard]] ServiceLog read_log(RunId run, const nlohmann::json& message);

void read_metrics(const std::string& path, RunId run, const nlohmann::json& message,
                  ServiceMetrics& metrics);

// What the worker says that it will die of.
void read_exception(const nlohmann::json& message, EndCause& cause);

}  // namespace unirun
