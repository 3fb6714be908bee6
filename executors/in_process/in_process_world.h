// InProcessWorld is what all runs of an in-process executor share: the parts that the host gives
// it, and the gate through which services reach them from threads of their own.
//
// Thread: the loop's, except `gate`, and what is done while passing it. Owned by the executor,
// which closes the gate at its end, and by the contexts of its services, which may live longer.

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "executors/executor.h"
#include "executors/in_process/loop_gate.h"
#include "executors/output/output_store.h"
#include "executors/service_factory.h"
#include "executors/service_metrics.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"

namespace unirun {

// Everything here outlives the executor.
struct InProcessParts {
  EventLoop& loop;
  EventBus& bus;
  OutputStore& output;
  ServiceFactory* native = nullptr;   // Of native targets; null: they are refused.
  ServiceFactory* python = nullptr;   // Of Python targets; null: they are refused.
  ServiceMetrics* metrics = nullptr;  // Null: nobody counts.
};

struct InProcessWorld : InProcessParts {
  explicit InProcessWorld(const InProcessParts& parts) : InProcessParts(parts), gate(parts.loop) {}

  LoopGate gate;
};

}  // namespace unirun
