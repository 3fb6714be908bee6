// Service is what runs, written in C++. An executor that keeps native services makes one per run,
// calls run() once, on a thread or in a process of its own, and reads the exit reason off how it
// ends:
//   returns                            normal, or shutdown where a stop had been requested
//   throws Cancelled after a request   shutdown
//   throws anything else               exception
//
// A service owns nothing of the context; the context outlives run().

#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "framework/cancellation.h"

namespace unirun {

// What a running service holds of the house. Thread: any, as long as run() runs.
class ServiceContext {
 public:
  virtual ~ServiceContext() = default;

  [[nodiscard]] virtual const std::string& id() const = 0;    // "ingest-2": unique among siblings
  [[nodiscard]] virtual const std::string& path() const = 0;  // "pipeline/ingest-2"

  // The child spec's "config".
  [[nodiscard]] virtual const nlohmann::json& config() const = 0;

  // Asks to stop. Look at it, wait on it in place of sleeping, or register a callback.
  [[nodiscard]] virtual CancellationToken cancellation() const = 0;

  // Says that the service can serve. The first call counts.
  virtual void ready() = 0;

  // Says that it still lives, where a heartbeat is asked of it. Cheap: call it often.
  virtual void heartbeat() = 0;

  // One line for people about what it is doing: shown beside its state.
  virtual void status(std::string_view text) = 0;
};

class Service {
 public:
  virtual ~Service() = default;
  virtual void run(ServiceContext& context) = 0;
};

}  // namespace unirun
