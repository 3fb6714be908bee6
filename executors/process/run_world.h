// RunWorld is what all runs of a process executor share.
//
// Thread: the loop's. Owned by the executor.

#pragma once

#include <sys/resource.h>

#include <optional>
#include <string>

#include "executors/output/output_store.h"
#include "executors/process/children.h"
#include "executors/process/environment.h"
#include "executors/process/oom_counter.h"
#include "executors/process/spawner.h"
#include "executors/service_metrics.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/random.h"

namespace unirun {

class DeathBoard;
class TemplatePool;

struct RunWorld {
  EventLoop& loop;
  EventBus& bus;
  OutputStore& output;
  Random chance;  // For names that nobody is to guess.
  std::string host_mark;
  std::string python_interpreter;
  Environment environment;  // The host's own, without what is meant for the host alone.
  // As it was before the host raised it, if it did: services get this one.
  std::optional<rlimit> open_files;
  Spawner spawner;
  Children children;
  OomCounter oom;
  std::uint64_t last_launch = 0;  // Of UNIRUN_LAUNCH.
  long own_peak_kib = 0;          // Of this process's memory, when it was last asked for.
  DeathBoard* deaths = nullptr;   // Both are the executor's; null in tests that need neither.
  TemplatePool* templates = nullptr;
  std::string control_socket{};       // For workers that observe; empty: there is none.
  ServiceMetrics* metrics = nullptr;  // Null: nobody counts.
};

}  // namespace unirun
